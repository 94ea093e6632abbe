"""Section of a sweep's page on the number of labels: learning curves, the best classical row, and twice the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segtrain.benchmark.results import Results
from segtrain.data.splits import same_contents
from segtrain.errors import SegtrainError
from segtrain.io import expand_path
from segtrain.metrics.learning_curve import Estimate, LearningCurve, fit_learning_curve
from segtrain.report.blocks import Block, Bullets, Charts, Paragraph, Section
from segtrain.report.charts import BOTH, NARROW, WIDE, Axis, Chart, Line, Point, Style, axis_from_zero, series_styles
from segtrain.report.text import number_text, sentence
from segtrain.training.run_history import CLASS_AGNOSTIC_AP, IMAGES, OBJECTS, RunHistory
from segtrain.training.sweep_journal import SweepJob, group_jobs, settings_of

FRACTION, REFERENCE = "data.fraction", "sweep.reference"
_BAND = "2 3"  # dashes of the ends of the interval
_MORE = 2.0  # multiple of the labels up to which curves are drawn and told
_STEPS = 48  # of a curve
_FAR = 10.0  # multiple of the labels beyond which a crossing is not told as a number
_LEARNED = 0.05  # mask AP below which a network was hardly trained
_WEAK_SIZES, _WEAK_RUNS, _WEAK_INTERVAL = 4, 6, 0.05  # fewer numbers of images, fewer runs, a wider interval


@dataclass(frozen=True)
class ClassicalRow:
    """Best classical row of an evaluation: its name and its class-agnostic mask AP."""

    name: str
    value: float


@dataclass(frozen=True)
class _Run:
    images: float
    objects: float
    score: float
    title: str
    passes: float | None  # how often the run has seen each of its images, on average; None where it is not known


def reference_row(path: Path) -> ClassicalRow:
    """Find the best classical row of an evaluation.

    Args:
        path: its ``results.json``, or its folder.

    Raises:
        SegtrainError: the file cannot be read, or has no classical row with a mask AP.
    """
    results = _results(path)
    for name in results.contenders:
        method = results.methods[name]
        value = method.metric("mask_ap")
        if method.is_classical and value is not None:
            return ClassicalRow(name, value)
    raise SegtrainError(
        f"sweep.reference={path}: has no classical row with a mask AP; give the results.json of evaluate.py with "
        "methods=classical or methods=all"
    )


def require_same_images(path: Path, contents: str) -> None:
    """Check that an evaluation was made on the validation images of a training.

    Args:
        path: its ``results.json``, or its folder.
        contents: fingerprint of the validation images and their annotations.

    Raises:
        SegtrainError: the file cannot be read, or states that it was made on others.
    """
    known = _results(path).data.contents
    if known is not None and not same_contents(known, contents):
        raise SegtrainError(
            f"sweep.reference={path}: evaluates other images or annotations than those that this training validates "
            "on; evaluate the classical methods on these, with methods=classical and the same settings of data"
        )


def _results(path: Path) -> Results:
    return Results.load(path / "results.json" if path.is_dir() else path)


def learning_section(folder: Path, jobs: Sequence[SweepJob]) -> Section | None:
    """Draw the score over the number of training images, and tell what more labels would bring.

    Args:
        folder: folder of the sweep, with those of its jobs.
        jobs: its jobs.

    Returns:
        None for a sweep that does not vary ``data.fraction``.
    """
    if len({job.settings.get(FRACTION, "1") for job in jobs}) < 2:
        return None
    reference = _reference(jobs)
    groups = {name: runs for name, own in _by_other_settings(jobs).items() if (runs := _runs(folder, own, reference))}
    if not groups:
        return None
    curves = {
        name: fit_learning_curve([run.images for run in runs], [run.score for run in runs])
        for name, runs in groups.items()
    }
    agnostic = " (without categories)" if reference is not None else ""
    lead = (
        f"Best mask AP{agnostic} of the validation images over the number of training images, and the power law that "
        "agrees with it, with its 95 % interval. Fractions of one seed lie within each other; runs take equal steps, "
        "or equal time where trainer.max_minutes ends them. The interval is that of the curve: that the validation "
        "images are a sample is not part of it."
    )
    sentences = [line for name, runs in groups.items() for line in _sentences(name, runs, curves[name], reference)]
    blocks: list[Block] = [
        Paragraph(lead),
        Bullets(sentences),
        Charts([_chart(groups, curves, reference)], legend=len(groups) > 1),
    ]
    return Section("labels", "Would more labels help?", blocks, short="More labels")


def _reference(jobs: Sequence[SweepJob]) -> ClassicalRow | None:
    """Read the row that the command names; None if it names none, or the file is gone since."""
    given = (override.partition("=") for job in jobs for override in job.overrides)
    paths = [value.strip("'\"") for key, _, value in given if key == REFERENCE]
    try:
        return reference_row(Path(expand_path(paths[0]))) if paths and paths[0] != "null" else None
    except SegtrainError:
        return None


def _by_other_settings(jobs: Sequence[SweepJob]) -> Mapping[str, Sequence[SweepJob]]:
    """Group finished jobs that differ in their seed and fraction alone, by the other settings that differ."""
    alike = {job.number: job for job in jobs if job.state == "finished"}
    stripped = [
        replace(job, overrides=[own for own in job.overrides if FRACTION not in settings_of([own])])
        for job in alike.values()
    ]
    return {group.name: [alike[job.number] for job in group.jobs] for group in group_jobs(stripped)}


def _runs(folder: Path, jobs: Sequence[SweepJob], reference: ClassicalRow | None) -> list[_Run]:
    """Read the best score, and the number of training images, of each job."""
    found = []
    for job in jobs:
        history = RunHistory.read(folder / job.folder)
        quality, images, objects = (history.of(name) for name in ("validation/mask_ap", IMAGES, OBJECTS))
        if not quality or not images or not objects:
            continue
        step, score = max(quality, key=lambda entry: entry[1])
        if reference is not None:
            score = dict(history.of(f"validation/{CLASS_AGNOSTIC_AP}")).get(step, score)
        count, labels = images[-1][1], objects[-1][1]
        title = f"job {job.number}: {number_text(score)} with {count:,.0f} images, {labels:,.0f} objects"
        epochs, fraction = history.of("train/epoch"), _fraction(job)
        passes = epochs[-1][1] / fraction if epochs and fraction else None  # an epoch is as long as one of all images
        found.append(_Run(count, labels, score, title, passes))
    return found


def _fraction(job: SweepJob) -> float | None:
    """Return the fraction of the images that a job has; None for a value that is none."""
    try:
        return float(job.settings.get(FRACTION, "1"))
    except ValueError:
        return None


def _sentences(
    name: str, runs: Sequence[_Run], curve: LearningCurve | None, reference: ClassicalRow | None
) -> list[str]:
    """Tell what twice the labels would bring, where the curve passes the reference, and how far to trust it."""
    start = "" if name == "all jobs" else f"{name}: "
    sizes = {run.images for run in runs}
    if max(run.score for run in runs) < _LEARNED:
        return [sentence(f"{start}no run has learned to segment yet, which says nothing about labels; train longer.")]
    if curve is None:
        why = (
            f"runs on {len(sizes)} numbers of images are too few for a curve; give at least three values of {FRACTION}"
            if len(sizes) < 3
            else "the scores do not rise with the number of images as a power law does, so that nothing is extrapolated"
        )
        return [sentence(f"{start}{why}.")]
    largest = max(runs, key=lambda run: run.images)
    gain = curve.gain(_MORE)
    twice = f"{_MORE * largest.images:,.0f} images, about {_MORE * largest.objects:,.0f} objects"
    lines = [
        f"{start}twice the labels ({twice}) would bring {number_text(gain.median, signed=True)} mask AP "
        f"(95 % interval {_range(gain)}): {_worth(gain)}."
    ]
    if reference is not None:
        lines.append(f"{start}{_crossing(curve, reference, largest)}")
    passes = max((run.passes for run in runs if run.images == largest.images and run.passes is not None), default=1.0)
    if passes < 1:
        lines.append(
            f"{start}the runs with most images have seen {passes:.0%} of them: labels that a run never sees cannot "
            "help it; train longer."
        )
    weak = []
    if len(sizes) < _WEAK_SIZES:
        weak.append(f"{len(sizes)} numbers of images")
    if len(runs) < _WEAK_RUNS:
        weak.append(f"{len(runs)} runs")
    if gain.high - gain.low > _WEAK_INTERVAL:
        weak.append("a wide interval")
    if weak:
        lines.append(f"{start}the fit is weak ({', '.join(weak)}); more fractions and seeds make it firmer.")
    return [sentence(line) for line in lines]


def _worth(gain: Estimate) -> str:
    if gain.low > 0.01:
        return "more labels help"
    return "more labels would hardly help" if gain.high < 0.01 else "whether that is worth it, these runs cannot tell"


def _crossing(curve: LearningCurve, reference: ClassicalRow, largest: _Run) -> str:
    """Tell from how many images on the network is better than the best classical row."""
    row = f"{reference.name} (mask AP {number_text(reference.value)}), the best classical row"
    images = curve.images_for(reference.value)
    needed = curve.estimate(images)
    per_image = largest.objects / largest.images
    if needed.high <= curve.smallest:
        return f"the network is better than {row}, with the smallest number of labels already."
    if needed.median > _FAR * curve.largest:
        share = curve.probability(images <= _FAR * curve.largest)
        return (
            f"the curve does not pass {row}, even with {_FAR:.0f} times the labels (the probability that it does is "
            f"{share:.0%})."
        )
    low = f"{needed.low:,.0f}" if needed.low > curve.smallest else f"less than {curve.smallest:,.0f}"
    high = f"{needed.high:,.0f}" if needed.high <= _FAR * curve.largest else f"more than {_FAR * curve.largest:,.0f}"
    at = f"{needed.median:,.0f} images, about {needed.median * per_image:,.0f} objects"
    beyond = "" if needed.median <= curve.largest else ", more than these runs have"
    return f"the curve passes {row}, at {at}{beyond} (95 % interval: {low} to {high} images)."


def _chart(
    groups: Mapping[str, Sequence[_Run]], curves: Mapping[str, LearningCurve | None], reference: ClassicalRow | None
) -> Chart:
    styles = series_styles(list(groups))
    lines: list[Line] = []
    points: list[Point] = []
    widest = max(run.images for runs in groups.values() for run in runs)
    for name, runs in groups.items():
        points += [Point(run.images, run.score, styles[name], run.title, radius=4) for run in runs]
        curve = curves[name]
        if curve is not None:
            widest = max(widest, _MORE * curve.largest)
            lines += _lines(curve, styles[name], name)
    if reference is not None:
        lines.append(Line([(0, reference.value), (widest, reference.value)]))
    note = "" if reference is None else f"dotted: {reference.name} {number_text(reference.value)}"
    widths = (WIDE, NARROW) if len(groups) == 1 else (BOTH,)
    images = axis_from_zero("training images", widest, least_step=1.0)
    return Chart("Learning curve", images, Axis("mask AP"), [*lines, *points], widths, 0.5, note)


def _lines(curve: LearningCurve, style: Style, name: str) -> list[Line]:
    """Draw the median of the curves, and the ends of their interval, from the smallest number to twice the largest."""
    at = np.geomspace(curve.smallest, _MORE * curve.largest, _STEPS).tolist()
    estimates = [curve.estimate(curve.at(images)) for images in at]
    dashed = replace(style, dash=_BAND)
    median, low, high = (list(zip(at, values, strict=True)) for values in zip(*estimates, strict=True))
    return [Line(low, dashed, name), Line(high, dashed, name), Line(median, style, name)]


def _range(estimate: Estimate) -> str:
    return f"{number_text(estimate.low, signed=True)} to {number_text(estimate.high, signed=True)}"
