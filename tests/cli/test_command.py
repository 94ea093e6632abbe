"""The ``segtrain`` command, quick answers, and the commands called from Python."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Annotated

import hydra
import pytest
from hydra.core.config_store import ConfigStore
from msgspec import Meta
from omegaconf import OmegaConf

from segtrain.cli.config import Data, Train, check_values, register_schemas, schema
from segtrain.cli.help import read_comments
from segtrain.cli.launch import compose_runs, run
from segtrain.cli.main import COMMANDS, DEPENDENCIES, main
from segtrain.errors import SegtrainError
from tests.conftest import Workplace
from tests.helpers.scripts import ROOT, SMALL, data_of
from tests.helpers.scripts import run as run_script

QUICK = """
import sys
from segtrain.cli.main import main
try:
    code = main({arguments})
except SystemExit as leaving:
    code = leaving.code or 0
heavy = [name for name in ("torch", "numpy", "albumentations", "rich") if name in sys.modules]
print(code, heavy, file=sys.stderr)
"""


def answer(*arguments: str, folder: Path) -> tuple[str, list[str]]:
    """What a command prints in a process of its own, and the lines it leaves on stderr."""
    code = QUICK.format(arguments=list(arguments))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment, check=True
    )
    return finished.stdout, finished.stderr.splitlines()


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["evaluate", "--cfg", "job"], ["train", "-sc", "install=bash"]]
)
def test_questions_are_answered_without_torch(arguments: list[str], tmp_path: Path) -> None:
    out, err = answer(*arguments, folder=tmp_path)
    assert out
    assert err == ["0 []"]
    assert not list(tmp_path.iterdir())


@pytest.mark.few(2)
@pytest.mark.parametrize("override", ["sed=1", "trainer.epoch=3", "experiment=nucle", "data.rot=x"])
def test_mistakes_are_found_without_torch(override: str, tmp_path: Path) -> None:
    _, (error, end) = answer("train", override, "seed=3", folder=tmp_path)
    assert error.startswith(f"error: {override}: no such")
    assert end == "1 []"


def test_the_table_of_commands_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
    assert list(COMMANDS) == [
        "train", "evaluate", "compare", "predict", "export", "check", "convert", "curves", "replay"
    ]  # fmt: skip
    assert main(["--version"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("segtrain 0.")
    assert [line.partition(" ")[0] for line in others] == list(DEPENDENCIES)


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 1
    said = capsys.readouterr().err
    known = "train, evaluate, compare, predict, export, check, convert, curves or replay"
    assert said == f"error: trian: no such command; choose {known}\n"


@pytest.mark.parametrize("before", [["convert"], ["check", "b"], ["replay"], []], ids=str)
def test_errors_are_one_line_that_controls_no_terminal(before: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    after = ["out.json"] if before == ["convert"] else []
    assert main([*before, "a\x1b[31m", *after]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: a\\u001b[31m")
    assert error.count("\n") == 1


def test_check_is_the_check_of_data(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(data / "val.json"), str(data / "val"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["errors"] == 0


def test_a_new_key_of_the_data_is_two_edits(tmp_path: Path) -> None:
    """A field of the record, and a line of ``data/coco.yaml``: every option of the data has it, typed and checked."""

    class LongerData(Data):
        tile: Annotated[int, Meta(ge=1)] | None

    class LongerTrain(Train):
        data: LongerData

    configs = shutil.copytree(ROOT / "configs", tmp_path / "configs")
    with (configs / "data" / "coco.yaml").open("a") as file:
        file.write("tile: 512 # pixels\n")
    ConfigStore.instance().store(name="train_schema", node=schema(LongerTrain))
    try:
        with hydra.initialize_config_dir(str(configs), version_base="1.3"):
            found = {name: hydra.compose("train", [f"data={name}"]).data.tile for name in ("coco", "synthetic")}
            left = hydra.compose("train", ["data=checkpoint"]).data.tile
            wrong = OmegaConf.to_container(hydra.compose("train", ["data.tile=0"]).data)
    finally:
        register_schemas.cache_clear()
        register_schemas()
    assert found == {"coco": 512, "synthetic": 512}
    assert left is None
    assert list(check_values(LongerData, wrong)) == ["tile=0: give a whole number from 1, or null"]
    assert read_comments([configs], "data/coco")["tile"] == "pixels"


def test_options_may_stand_between_overrides(tmp_path: Path) -> None:
    finished = run_script("train", "seed=5", "--cfg", "job", "trainer.workers=1", folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    printed = OmegaConf.create(finished.out)
    assert (printed.seed, printed.trainer.workers) == (5, 1)


def test_a_configuration_from_python() -> None:
    assert compose_runs("train", ["seed=5"])[0]["seed"] == 5
    with pytest.raises(SegtrainError, match=r"sed=1: .*did you mean seed\?; trainer.batch_size=0: "):
        compose_runs("train", ["sed=1", "trainer.batch_size=0"])


def test_a_run_from_python(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [*SMALL, *data_of(workplace.data), "output_dir=here"]
    finished = run("train", overrides)
    assert finished.folder == Path("here")
    assert (tmp_path / "here" / "checkpoints" / "best.pt").is_file()
    assert (tmp_path / "here" / ".hydra" / "overrides.yaml").is_file()
    with pytest.raises(SegtrainError, match="already holds checkpoints"):
        run("train", overrides)


@pytest.mark.slow
def test_an_installed_package_has_its_configuration(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    place, empty = tmp_path / "installed", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(place)
    empty.mkdir()
    code = "import sys; from segtrain.cli.main import main; sys.exit(main(['train', '--cfg', 'job']))"
    environment = {**os.environ, "PYTHONPATH": str(place)}
    finished = subprocess.run([sys.executable, "-c", code], cwd=empty, capture_output=True, text=True, env=environment)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("output_dir: ")


def unread(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command whose reader has gone, as ``head`` goes after its lines."""
    code = f"import sys; from segtrain.cli.main import main; sys.exit(main({list(arguments)}))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "arguments", [["--version"], ["train", "--help"], ["train", "--cfg", "job"], ["--help"], ["compare", "--help"]]
)
def test_an_answer_without_a_reader_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    assert unread(tmp_path, *arguments) == (0, "")


def test_a_check_without_a_reader_writes_its_files_and_keeps_its_exit_code(data: Path, tmp_path: Path) -> None:
    arguments = ["check", str(data / "train.json"), str(data / "train")]
    assert unread(tmp_path, *arguments, "--fix", "fixed.json", "--html", "page.html") == (0, "")
    assert (tmp_path / "fixed.json").exists()
    assert (tmp_path / "page.html").exists()
    content = json.loads((data / "train.json").read_text())
    content["annotations"][0]["category_id"] = 99
    (data / "train.json").write_text(json.dumps(content))
    assert unread(tmp_path, *arguments) == (1, "")


@pytest.mark.few(1)
@pytest.mark.parametrize("arguments", [["--version"], ["train", "--cfg", "job"], ["train", "--help"]])
def test_an_answer_without_a_stdout_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    """As behind ``>&-``, or in some services."""
    code = f"import sys; from segtrain.cli.main import main; sys.exit(main({arguments}))"
    command = ["sh", "-c", f'exec {sys.executable} -c "$0" >&-', code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_answer_that_does_not_fit_on_the_disk_is_one_line(tmp_path: Path) -> None:
    code = "import sys; from segtrain.cli.main import main; sys.exit(main(['--version']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")
