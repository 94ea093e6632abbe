"""The section on labels: what twice the labels bring, where the best classical row is passed, and weak fits."""

import json
from pathlib import Path

import pytest

from segtrain.errors import SegtrainError
from segtrain.report.blocks import Bullets, Charts
from segtrain.report.learning_section import ClassicalRow, learning_section, reference_row
from segtrain.report.sweep_page import sweep_page
from segtrain.training.sweep_journal import SweepJob

FRACTIONS = (0.1, 0.25, 0.5, 1)


def job(
    folder: Path,
    number: int,
    fraction: float,
    seed: int,
    score: float,
    *more: str,
    agnostic: float | None = None,
    epochs: float = 3.0,
) -> SweepJob:
    images = round(400 * fraction)
    lines = [
        {"step": 0, "data/images": images, "data/objects": 10 * images},
        {"step": 40, "train/epoch": epochs / 2},
        {"step": 50, "validation/mask_ap": score / 2, "validation/mask_ap_class_agnostic": 0.99},
        {"step": 99, "validation/mask_ap": score, "validation/mask_ap_class_agnostic": agnostic, "train/epoch": epochs},
    ]
    (folder / str(number)).mkdir()
    (folder / str(number) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return SweepJob(number, [f"data.fraction={fraction}", f"seed={seed}", *more], "finished", str(number), score, 1.0)


def sweep(folder: Path, *more: str, steep: float = 0.3, seeds: int = 2) -> list[SweepJob]:
    return [
        job(folder, number, fraction, seed, 0.6 - steep * (fraction / 0.1) ** -0.5 + 0.004 * seed, *more)
        for number, (fraction, seed) in enumerate((f, s) for f in FRACTIONS for s in range(seeds))
    ]


def sentences(folder: Path, jobs: list[SweepJob]) -> list[str]:
    section = learning_section(folder, jobs)
    assert section is not None
    return [line for block in section.blocks if isinstance(block, Bullets) for line in block.entries]


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(
        "segtrain.report.learning_section.reference_row",
        lambda path: ClassicalRow("threshold_tuned", float(path.name)),
    )
    return "sweep.reference={}"


def test_more_labels_help_where_the_curve_rises(tmp_path: Path) -> None:
    (line,) = sentences(tmp_path, sweep(tmp_path))
    assert line.startswith("Twice the labels (800 images, about 8,000 objects) would bring +0.0")
    assert line.endswith("more labels help.")


def test_untrained_networks_say_nothing_about_labels(tmp_path: Path) -> None:
    jobs = [job(tmp_path, n, fraction, 0, 0.001 * n) for n, fraction in enumerate(FRACTIONS)]
    (line,) = sentences(tmp_path, jobs)
    assert line == "No run has learned to segment yet, which says nothing about labels; train longer."


def test_labels_that_no_run_has_seen_are_told(tmp_path: Path) -> None:
    jobs = [
        job(tmp_path, number, fraction, number % 2, 0.4 + 0.1 * fraction, epochs=0.54)
        for number, fraction in enumerate([*FRACTIONS, *FRACTIONS])
    ]
    lines = sentences(tmp_path, jobs)
    assert [line for line in lines if "never sees" in line] == [
        "The runs with most images have seen 54% of them: labels that a run never sees cannot help it; train longer."
    ]
    half = [
        own for own in jobs if not own.overrides[0].endswith("=1")
    ]  # each of half of the images was seen, 1.08 times
    assert not any("never sees" in line for line in sentences(tmp_path, half))


def test_they_do_not_where_it_is_flat(tmp_path: Path) -> None:
    (line,) = sentences(tmp_path, sweep(tmp_path, steep=0.0))
    assert line.endswith("more labels would hardly help.")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.2, "The network is better than {}, the best classical row, with the smallest number of labels already."),
        (0.45, "The curve passes {}, the best classical row, at 15"),
        (0.7, "The curve does not pass {}, the best classical row, even with 10 times the labels"),
    ],
)
def test_the_best_classical_row_is_placed(tmp_path: Path, reference: str, value: float, expected: str) -> None:
    jobs = sweep(tmp_path, reference.format(value))
    for own in jobs:  # without categories, as classical methods are measured
        path = tmp_path / own.folder / "metrics.jsonl"
        path.write_text(path.read_text().replace("null", str(own.value)))
    line = sentences(tmp_path, jobs)[1]
    assert line.startswith(expected.format(f"threshold_tuned (mask AP {value:.3f})"))
    page = sweep_page(tmp_path, jobs)
    assert "Would more labels help?" in page
    assert f"dotted: threshold_tuned {value:.3f}" in page


def test_scores_without_categories_are_those_of_the_best_validation(tmp_path: Path, reference: str) -> None:
    given = reference.format(0.1)
    jobs = [job(tmp_path, n, f, 0, 0.1 * n, given, agnostic=0.5 + 0.1 * n) for n, f in enumerate(FRACTIONS)]
    section = learning_section(tmp_path, jobs)
    assert section is not None
    (charts,) = (block for block in section.blocks if isinstance(block, Charts))
    assert "job 3: 0.800 with 400 images, 4,000 objects" in charts.charts[0].description


def test_weak_fits_and_missing_ones_are_said(tmp_path: Path) -> None:
    weak = sentences(tmp_path, sweep(tmp_path, seeds=1)[1:])
    assert weak[-1].startswith("The fit is weak (3 numbers of images, 3 runs")
    (line,) = sentences(tmp_path, sweep_of(tmp_path / "few", FRACTIONS[:2]))
    assert line == "Runs on 2 numbers of images are too few for a curve; give at least three values of data.fraction."


def sweep_of(folder: Path, fractions: tuple[float, ...]) -> list[SweepJob]:
    folder.mkdir()
    return [job(folder, number, fraction, 0, 0.3 + fraction / 10) for number, fraction in enumerate(fractions)]


def test_other_settings_have_curves_of_their_own(tmp_path: Path) -> None:
    jobs = sweep(tmp_path, "optimizer.lr=0.1", seeds=1)
    jobs += [job(tmp_path, 10 + n, f, 0, 0.2 + 0.2 * f, "optimizer.lr=0.2") for n, f in enumerate(FRACTIONS)]
    lines = sentences(tmp_path, jobs)
    assert {line.partition(":")[0] for line in lines} == {"lr=0.1", "lr=0.2"}


def test_a_sweep_of_other_settings_has_no_such_section(tmp_path: Path) -> None:
    assert learning_section(tmp_path, [SweepJob(0, ["seed=0"], "finished", "0", 0.5)]) is None


def test_a_reference_that_is_no_evaluation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SegtrainError, match=r"cannot be read"):
        reference_row(tmp_path)
