"""Files that a conversion writes, and the command that it prints."""

import base64
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from segtrain.cli.main import main
from tests.convert.test_places import coco, labelme
from tests.helpers.conversions import convert, draw_image, write_json


@pytest.mark.parametrize(("to", "shared"), [("labelme", "a.json"), ("labelmaps", "a_masks.png"), ("yolo", "a.txt")])
def test_images_that_would_share_a_file_are_named(
    to: str, shared: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "a.jpg"):
        draw_image(tmp_path / "set" / name)
    path = coco(tmp_path / "set" / "in.json", "a.png", "a.jpg")
    assert main(["convert", str(path), str(tmp_path / "out"), "--to", to]) == 1
    error = capsys.readouterr().err
    assert f"set/a.png and {tmp_path}/set/a.jpg would share the file {shared}; rename one of them" in error
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_where_one_output_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = base64.b64encode(draw_image(tmp_path / "held.png").read_bytes()).decode()
    for part in ("train", "val"):
        labelme(tmp_path / "set" / part / "a.json", "a.png", imageData=held)
    write_json(tmp_path / "out_val.json", {})
    assert main(["convert", str(tmp_path / "set"), str(tmp_path / "out.json")]) == 1
    assert "out_val.json: exists already, and nothing is replaced" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held.png", "out_val.json", "set"]


@pytest.mark.parametrize(
    ("out", "message"),
    [("held.png/out.json", "held.png is no folder"), ("b" * 300 + ".json", "the name is too long for the system")],
)
def test_outputs_that_cannot_be(out: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "held.png")
    labelme(tmp_path / "a.json", "held.png")
    assert main(["convert", str(tmp_path / "a.json"), str(tmp_path / out)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["my cells (1)", "a,b=c", "it's", "plain", "[x]{y}"])
def test_the_command_can_be_pasted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_image(Path(name) / "a.png")
    labelme(Path(name) / "a.json", "a.png")
    convert(Path(name), Path(f"{name}.json"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("train: ")]
    command = line.removeprefix("train: segtrain train ")
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True).stdout
    assert words.splitlines() == shlex.split(command)
    overrides = OverridesParser.create().parse_overrides(words.splitlines())
    values = {override.key_or_group: override.value() for override in overrides}
    read = [str(values[key]) for key in ("data.train_annotations", "data.train_images")]
    assert [text.strip("'").replace("\\'", "'") for text in read] == [f"{name}.json", name]
