"""Which stages of both commands show their progress: each line is as it would be if a step took half a minute."""

import itertools
from pathlib import Path

import pytest

from segtrain import console
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of, run


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines of all stages; every look at the clock takes half a minute."""
    lines: list[str] = []
    clock = itertools.count(step=30)
    monkeypatch.setattr(console, "_heartbeat", console.Heartbeat(lines.append, lambda: float(next(clock))))
    return lines


def stages(lines: list[str]) -> list[str]:
    return list(dict.fromkeys(line.partition(":")[0] for line in lines))


def test_stages_of_an_evaluation(workplace: Workplace, data: Path, tmp_path: Path, said: list[str]) -> None:
    rows = [f"checkpoint={workplace.best}", "methods=none", "+segmenter@segmenters.mask_rcnn=checkpoint"]
    rows += ["+segmenter@segmenters.otsu=threshold_otsu", "+segmenter@segmenters.tuned=threshold_tuned"]
    finished = run("evaluate", *rows, *data_of(data), "tune.trials=1", "threads=1", folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert stages(said) == [
        "annotations", "image headers", "tuning tuned", "methods",
        "contrast of objects", "analysis", "limit of mask resolution",
        "gallery", "report", "outlines of the gallery",
    ]  # fmt: skip
    for stage, least in (("methods", 10), ("analysis", 30)):  # each image moves the bar, and each metric
        shares = [int(line.split()[1]) for line in said if line.startswith(f"{stage}: ")]
        assert shares == sorted(shares)
        assert len(set(shares)) > least
    assert any(line.startswith("analysis: ") and ", otsu, " in line for line in said)


def test_stages_of_a_training(data: Path, tmp_path: Path, said: list[str]) -> None:
    changes = ["output_dir=run", "score_threshold=auto", "data.cache=ram", "data.on_bad_image=skip"]
    finished = run("train", *SMALL, *data_of(data), *changes, folder=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert stages(said) == [
        "annotations", "image headers", "reading images", "training", "validation", "score threshold of best.pt",
    ]  # fmt: skip
