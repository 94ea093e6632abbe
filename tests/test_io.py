"""Files are written whole or not at all."""

import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from segtrain.errors import SegtrainError
from segtrain.io import cache_folder, expand_path, remove_leftovers, write_atomically


@pytest.mark.parametrize("content", ["grün\n", b"\x00\xff"])
def test_a_file_is_written_whole(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "file.bin"
    for _ in range(2):  # anew, and over the old one
        write_atomically(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(path.parent.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("failing", ["os.fdopen", "pathlib.Path.replace", "pathlib.Path.chmod"])
@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(failing, fail)
    with pytest.raises(type(error)):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_leaves_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [tmp_path / "run" / name for name in (".hidden", ".notes.12", "a.part", "checkpoints/last.pt")]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)  # as on network disks
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    for name in ("run/metrics.jsonl", "run/checkpoints/last.pt", "run/nan/step_3/step.pt"):
        process = multiprocessing.get_context("fork").Process(target=write_atomically, args=(tmp_path / name, "new"))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(own) + 3
    remove_leftovers(tmp_path / "run")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(own)


def test_the_cache_lies_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "segtrain"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "segtrain"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("~", "/home/ann"),
        ("~/x y", "/home/ann/x y"),
        ("$DISK/x", "/mnt/disk/x"),
        ("${DISK}/x", "/mnt/disk/x"),
        ("a/$SET.json", "a/train.json"),
        ("$BACK/x", "/home/ann/back/x"),  # a variable that holds a path of the same kind
        ("a~b/~", "a~b/~"),
        ("a$", "a$"),
    ],
)
def test_paths_are_expanded_as_a_shell_does(monkeypatch: pytest.MonkeyPatch, typed: str, expected: str) -> None:
    for name, value in (("HOME", "/home/ann"), ("DISK", "/mnt/disk"), ("SET", "train"), ("BACK", "~/back")):
        monkeypatch.setenv(name, value)
    assert expand_path(typed) == expand_path(Path(typed)) == Path(expected)


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(SegtrainError, match="a/\\$NOWHERE/b: the environment variable NOWHERE is not set"):
        expand_path("a/$NOWHERE/b")
    (tmp_path / "$NOWHERE").touch()
    assert expand_path(tmp_path / "$NOWHERE") == tmp_path / "$NOWHERE"  # a file of this very name
    with pytest.raises(SegtrainError, match="no such user"):
        expand_path("~nobody-of-this-name/x")
