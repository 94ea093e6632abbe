"""The search for settings of tuned rows against Optuna on whole images, in the same time.

    python benchmarks/tuning.py --nuclei DIR --coco DIR --repeats 2 --check

Both sides search the candidates of a tuned row (``configs/segmenter/NAME_tuned.yaml``) on the same 60 training images,
for as many seconds as ``evaluate.py`` takes by default; each repetition has another seed, and the sides take turns.

- ours: ``search``, by successive halving, on all cores.
- stock: Optuna's tree-structured Parzen estimators with its percentile pruner: each setting is segmented on a sixth of
  the images, then on a third, then on all, one after the other, and steps are not shared. The candidates' own settings
  come first, as in ours.

Rows: ``settings_NAME`` is the number of settings seen each second, ``tuned_NAME`` the mask AP of the winner on all 60
images, medians over the seeds; on nuclei for the three rows, and ``settings_photos`` for edges on photographs, whose
objects no threshold or edge finds.
"""

import argparse
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import optuna
import stand_ins
from harness import arguments, finish
from omegaconf import OmegaConf
from rows import Row

from segtrain.benchmark.search import Budget, Tuned, search
from segtrain.benchmark.search_space import Candidate, Node, build_segmenter
from segtrain.benchmark.setting_scorer import SettingScorer
from segtrain.benchmark.training_images import TrainingImages
from segtrain.data.check.load import load_index
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.splits import Split
from segtrain.metrics.average_precision import average_precision
from segtrain.records import OBJECT, Prediction, to_predictions
from segtrain.runtime import usable_cores

CONFIGS = Path(__file__).parent.parent / "configs"
ROWS = ("threshold", "edge", "kmeans")
IMAGES, MAX_DETS = 60, 400
TIMES = 10  # so many times as many settings
RUNGS = (6, 3, 1)  # a trial is scored on a sixth of the images, then on a third, then on all


class Outcome(NamedTuple):
    """Outcome of a search.

    Attributes:
        seen: number of settings that were tried.
        node: configuration of the best segmenter.
    """

    seen: int
    node: Node


def tuned_row(name: str) -> Tuned:
    """Read the candidates and the space of a tuned row."""
    folder = CONFIGS / "segmenter"
    content: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{name}_tuned.yaml"))
    named = [line.split("@candidates.") for line in content["defaults"] if line != "_self_"]
    nodes: Any = {own: OmegaConf.to_container(OmegaConf.load(folder / f"{option}.yaml")) for option, own in named}
    return Tuned(nodes, content["space"], content["description"])


def ours(row: Tuned, images: TrainingImages, seconds: float, seed: int) -> Outcome:
    """Search by successive halving on all cores."""
    scorer = SettingScorer(images, "mask_ap", MAX_DETS, seed)
    with scorer.shared(usable_cores()):
        found = search(row, scorer, budget=Budget(seconds, None), seed=seed, show=lambda *_: None)
    return Outcome(found.trials, found.node)


def stock(row: Tuned, images: TrainingImages, seconds: float, seed: int) -> Outcome:
    """Search by Optuna, on whole images."""
    end = time.perf_counter() + seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.PercentilePruner(50.0))
    seen, best, value = 0, row.candidates[0].node, nan
    for trial, node in _trials(study, row.candidates):
        found = _scored(trial, node, images, end)
        if time.perf_counter() >= end:
            break
        seen += 1
        if found is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, found)
        if not found <= value:
            best, value = node, found
    return Outcome(seen, best)


def _trials(study: Any, candidates: Sequence[Candidate]) -> Iterator[tuple[Any, Node]]:
    """Yield trials with their configurations, the candidates' own first."""
    searched = {candidate.name: candidate for candidate in candidates if candidate.dimensions}
    for candidate in candidates:
        if candidate.dimensions:
            places = [d.values.index(own) for d, own in zip(candidate.dimensions, candidate.own_values(), strict=True)]
            names = [f"{candidate.name}.{dimension.name}" for dimension in candidate.dimensions]
            study.enqueue_trial({"candidate": candidate.name, **dict(zip(names, places, strict=True))})
            yield _drawn(study.ask(), searched)
        else:
            yield study.ask(), candidate.node
    while True:
        yield _drawn(study.ask(), searched)


def _drawn(trial: Any, searched: Mapping[str, Candidate]) -> tuple[Any, Node]:
    """Return a trial with its configuration; the sampler draws positions in the lists of values."""
    candidate = searched[trial.suggest_categorical("candidate", list(searched))]
    values = [
        dimension.values[trial.suggest_int(f"{candidate.name}.{dimension.name}", 0, len(dimension.values) - 1)]
        for dimension in candidate.dimensions
    ]
    return trial, candidate.with_values(values)


def _scored(trial: Any, node: Node, images: TrainingImages, end: float) -> float | None:
    """Compute the mask AP on all images; None if the trial was ended before."""
    found: list[Prediction] = []
    segmenter, done, value = build_segmenter(node), 0, 0.0
    for stop in (max(1, len(images.ids) // rung) for rung in RUNGS):
        for image_id, pixels in images.read(images.ids[done:stop]):
            if time.perf_counter() >= end:
                return None
            found += to_predictions(segmenter.segment([pixels])[0], image_id, [OBJECT])
        done, value = stop, precision(found, images, images.ids[:stop])
        trial.report(value, stop)
        if stop < len(images.ids) and trial.should_prune():
            return None
    return value


def precision(found: list[Prediction], images: TrainingImages, ids: Any) -> float:
    """Compute the mask AP of detections in some of the images."""
    truth = images.ground_truth
    return average_precision(
        truth.truths, found, image_ids=ids, category_ids=[OBJECT.id], max_dets=MAX_DETS, iou_type="segm",
        sizes=truth.sizes,
    ).stats[0]  # fmt: skip


def quality(node: Node, images: TrainingImages) -> float:
    """Compute the mask AP of a segmenter on all images."""
    segmenter, found = build_segmenter(node), list[Prediction]()
    for image_id, pixels in images.read(images.ids):
        found += to_predictions(segmenter.segment([pixels])[0], image_id, [OBJECT])
    return precision(found, images, images.ids)


def measure(name: str, files: stand_ins.Split, label: str, seconds: float, repeats: int) -> list[Row]:
    """Measure the two rows of a tuned row."""
    split = Split("train", load_index(files.annotations), ImageReader(files.images, "auto", 10**8))
    rates: dict[Any, list[float]] = {ours: [], stock: []}
    values: dict[Any, list[float]] = {ours: [], stock: []}
    for seed in range(repeats):
        images = TrainingImages(split, IMAGES, seed, skip=False)
        images.load()
        for side in (ours, stock) if seed % 2 else (stock, ours):
            outcome = side(tuned_row(name), images, seconds, seed)
            rates[side].append(outcome.seen / seconds)
            values[side].append(quality(outcome.node, images))
    what = f"{name}_tuned on {len(images.ids)} images of {files.name}, {seconds:g} s, {repeats} seeds"
    return [
        Row(f"settings_{label}", what, "settings/s", median(rates[ours]), median(rates[stock]), TIMES, greater=True),
        Row(f"tuned_{label}", what, "AP", median(values[ours]), median(values[stock]), 1.0, greater=True),
    ]


def main(options: argparse.Namespace) -> None:
    """Measure the rows."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seconds: float = options.seconds or OmegaConf.load(CONFIGS / "evaluate.yaml").tune.seconds
    rows: list[Row] = []
    with stand_ins.nuclei(options) as splits:
        for name in ROWS:
            rows += measure(name, splits[0], name, seconds, options.repeats)
    with stand_ins.coco(options) as splits:
        rows += measure("edge", splits[0], "photos", seconds, options.repeats)[:1]
    finish(rows, options)


if __name__ == "__main__":
    parser = arguments("The search for settings of tuned rows against Optuna on whole images.")
    parser.add_argument("--seconds", type=float, help="of each search; by default that of evaluate.py")
    main(parser.parse_args())
