"""Paths on the command line and in Python: the home folder and environment variables."""

import shutil
from pathlib import Path

import pytest

import segtrain as st
from segtrain.cli.launch import compose_runs
from segtrain.data.check.command import main as check
from segtrain.errors import SegtrainError
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of, message, run, write_data

ON_DATA = [
    "data=coco", "data.root=~/data", "data.val_annotations=val.json", "data.val_images=val", "threads=1", "gallery=0",
    "bootstrap.resamples=0", "methods=none",
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a small data set; commands are typed in the folder `here` beside it."""
    home = tmp_path / "home"
    write_data(home / "data")
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RUNS", "~/runs")
    monkeypatch.chdir(tmp_path / "here")
    return home


@pytest.mark.few(1)
@pytest.mark.parametrize("output_dir", ["~/runs/a", "$RUNS/a", "${RUNS}/a"])
def test_a_run_is_written_below_the_home_folder(home: Path, output_dir: str) -> None:
    here = home.parent / "here"
    rows = ["+segmenter@segmenters.otsu=threshold_otsu", f"output_dir={output_dir}"]
    finished = run("evaluate", *ON_DATA, *rows, folder=here)
    assert finished.code == 0, finished.err
    assert (home / "runs" / "a" / "results.json").exists()
    assert not list(here.iterdir())
    assert "already holds" in message(run("evaluate", *ON_DATA, *rows, folder=here))


def test_each_run_of_a_sweep_is(home: Path) -> None:
    rows = ["+segmenter@segmenters.otsu=threshold_otsu", "output_dir=~/runs/b", "seed=0,1", "--multirun"]
    finished = run("evaluate", *ON_DATA, *rows, folder=home.parent / "here")
    assert finished.code == 0, finished.err
    assert sorted(path.name for path in (home / "runs" / "b").glob("*/results.json")) == ["results.json"] * 2
    assert not list((home.parent / "here").iterdir())


def test_checkpoints_weights_and_result_files_are_found(home: Path, workplace: Workplace) -> None:
    here = home.parent / "here"
    shutil.copytree(workplace.run, home / "old")
    shutil.copytree(workplace.run, home / "older")
    shutil.copy(workplace.report / "predictions" / "mask_rcnn.json", home / "found.json")
    network = [*SMALL, *data_of(Path("~/data")), "trainer.max_steps=3"]
    weights = "segmenter.weights=~/old/checkpoints/best.pt"
    for words in (["resume=~/old", "output_dir=~/new"], [weights, "output_dir=c"]):
        finished = run("train", *network, *words, folder=here)
        assert finished.code == 0, finished.err
    named = ["checkpoint=[~/old,$HOME/older]", "predictions.file=~/found.json"]
    rows = ["methods=mask_rcnn", *named, "output_dir=~/report"]
    finished = run("evaluate", *ON_DATA[:-1], *rows, folder=here)
    assert finished.code == 0, finished.err
    assert (home / "report" / "results.json").exists()
    assert st.load("~/old").class_names == ["square", "bar"]


def test_every_key_that_is_a_path(home: Path) -> None:
    (values,) = compose_runs(
        "train", ['resume.path="~/r"', "segmenter.weights=null", "data.train_images=$HOME/i", "seed=3"]
    )
    assert (values["resume"]["path"], values["data"]["train_images"]) == (f"{home}/r", f"{home}/i")
    (values,) = compose_runs("evaluate", ['checkpoint=["~/a",b]', 'predictions.x="~/p.json"', 'output_dir="~/o"'])
    assert values["checkpoint"] == values["segmenters"]["mask_rcnn"]["path"] == [f"{home}/a", "b"]
    assert (values["predictions"]["x"], values["output_dir"]) == (f"{home}/p.json", f"{home}/o")


def test_from_python(home: Path) -> None:
    rows = ["+segmenter@segmenters.otsu=threshold_otsu", "output_dir=~/runs/c"]
    assert st.evaluate([*ON_DATA, *rows]).folder == home / "runs" / "c"


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "override",
    ["data.root=$NOWHERE/x", "output_dir=$NOWHERE", "checkpoint=[a,$NOWHERE/b]", "predictions.x=$NOWHERE"],
)
def test_an_unknown_variable_is_named(override: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    text = message(run("evaluate", override, folder=home.parent / "here"))
    assert override.partition("=")[0] in text
    assert "the environment variable NOWHERE is not set" in text
    assert not list((home.parent / "here").iterdir())
    text = message(run("evaluate", "data.root=${NOWHERE}/x", folder=home.parent / "here"))
    assert "Environment variable 'NOWHERE' not found" in text


def test_arguments_of_the_check_and_of_functions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["~/data/train.json", "$HOME/data/train", "--against=~/data/val.json", "--fix", "~/fixed.json"]
    assert check(words) == 0, capsys.readouterr().err
    assert (home / "fixed.json").exists()
    assert check(["~/data/train.json", "$NOWHERE"]) == 1
    assert "NOWHERE is not set" in capsys.readouterr().err
    data = st.load_coco("~/data/val.json", "~/data/val")
    assert len(data.index.images) == 5
    assert st.read_image("$HOME/data/val/101.png").shape == (48, 48, 3)
    with pytest.raises(SegtrainError, match="NOWHERE"):
        st.load_coco("$NOWHERE/val.json")
