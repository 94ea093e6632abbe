"""Every method's numbers by kind of object: size, contrast, crowding; and what textbooks' claims are tested with."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segtrain.benchmark.runner import MethodResult
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.evaluation import OBJECT, Detections, GroundTruthSet, metric_input
from segtrain.metrics.average_precision import true_boxes
from segtrain.metrics.strata import Trait, classes, ks_contrast, numbers_by_stratum, thirds
from segtrain.metrics.touching import crowding
from segtrain.records import GroundTruth
from segtrain.report.analysis.contrast import contrast_gap

logger = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float64]

SIZES = ("smallest", "middle", "largest")
CONTRASTS = ("lowest", "middle", "highest")
CROWDINGS = ("alone", "touching", "overlapping")


@dataclass(frozen=True)
class Kinds:
    """What ``results.json`` says about kinds of objects.

    Attributes:
        strata: trait -> of each stratum "name", "low", "high" (None: open, or no range), "objects", and "images" that
            have some of them.
        methods: row -> trait -> of each stratum "ap", "recall", "iou"; None for a row of boxes only.
        times: row -> "pixels" and "seconds" per image, and number of "images", all of the smallest and of the largest
            images; None where not timed.
        contrast_gap: what ``contrast_gap`` found.
        true_boxes: "mask_ap" and "filled" of the true boxes as masks.
    """

    strata: dict[str, list[dict[str, Any]]]
    methods: dict[str, dict[str, list[dict[str, float]]] | None]
    times: dict[str, dict[str, list[float]] | None]
    contrast_gap: dict[str, Any] | None
    true_boxes: dict[str, float]


def by_kind(
    rows: Mapping[str, MethodResult],
    split: Split,
    ground_truth: GroundTruthSet,
    max_dets: int,
    *,
    resamples: int,
    seed: int,
) -> Kinds:
    """Divide the true objects by their traits and compute every row's numbers for each kind.

    All categories count as one, and crowds are no objects. Images are read once, one at a time.

    Args:
        rows: by name.
        split: what was evaluated on; without images there is no contrast.
        ground_truth: its truth.
        max_dets: detections per image that AP uses.
        resamples: of the images, for the interval of what contrast does; 0 for none.
        seed: of the resamples.
    """
    merged = ground_truth.class_agnostic()
    traits = _traits(merged, split)
    methods: dict[str, dict[str, list[dict[str, float]]] | None] = {}
    for name, row in rows.items():
        methods[name] = None
        if row.detections.masks is not None:
            numbers = numbers_by_stratum(metric_input(row.detections, ground_truth, max_dets), list(traits.values()))
            methods[name] = {key: [asdict(n) for n in part] for key, part in zip(traits, numbers, strict=True)}
    return Kinds(
        strata={key: _described(trait, merged) for key, trait in traits.items()},
        methods=methods,
        times={name: time_by_size(row.detections, ground_truth) for name, row in rows.items()},
        contrast_gap=contrast_gap(rows, ground_truth, traits.get("contrast"), max_dets, resamples=resamples, seed=seed),
        true_boxes=asdict(true_boxes(merged.truths, sizes=merged.sizes, category_id=OBJECT.id)),
    )


def time_by_size(detections: Detections, ground_truth: GroundTruthSet) -> dict[str, list[float]] | None:
    """Median pixels and seconds of the smallest and the largest images, and their number; None if not timed here.

    Small and large are the lower and the upper third of the range of sizes on a logarithmic scale, so neither is empty.
    The first image, which warms caches up, is left out.
    """
    seconds = np.array(detections.seconds.get("segmentation", ())[1:], dtype=np.float64)
    pixels = np.array([height * width for height, width in ground_truth.sizes.values()], dtype=np.float64)[1:]
    if not len(seconds) or len(seconds) != len(pixels):
        return None
    third = (pixels.max() / pixels.min()) ** (1 / 3)
    small, large = pixels <= pixels.min() * third, pixels >= pixels.max() / third
    medians = {
        key: [float(np.median(values[chosen])) for chosen in (small, large)]
        for key, values in (("pixels", pixels), ("seconds", seconds))
    }
    return {**medians, "images": [int(small.sum()), int(large.sum())]}


def _traits(ground_truth: GroundTruthSet, split: Split) -> dict[str, Trait]:
    """The traits that could be told of at least one object."""
    truths, here = ground_truth.truths, defaultdict(list)
    crowds: dict[int, list[GroundTruth]] = defaultdict(list)
    for number, truth in enumerate(truths):
        if truth["iscrowd"]:
            crowds[truth["image_id"]].append(truth)
        else:
            here[truth["image_id"]].append(number)
    area, contrast = np.full((2, len(truths)), np.nan)
    crowded = np.full(len(truths), -1, dtype=np.int64)
    for image_id, numbers in here.items():
        area[numbers] = [truths[n]["area"] for n in numbers]
        crowded[numbers] = crowding([truths[n]["segmentation"] for n in numbers], ground_truth.sizes[image_id])
    for image_id, grey in _greys(split, here):
        rles, others = [truths[n]["segmentation"] for n in here[image_id]], crowds[image_id]
        contrast[here[image_id]] = ks_contrast(grey, rles, [crowd["segmentation"] for crowd in others])
    found = {
        "size": thirds(area, SIZES, sized=True),
        "contrast": thirds(contrast, CONTRASTS),
        "crowding": classes(crowded, CROWDINGS),
    }
    return {key: trait for key, trait in found.items() if trait.names}


def _greys(split: Split, wanted: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """The luminance of the wanted images, 0 to 255, as far as there are images."""
    from segtrain.segmenters.classical.regions import luminance

    if split.images is None:
        return
    for image in split.index.images:
        if wanted.get(image.id):
            try:
                rgb = split.images.read(image)
            except SegtrainError as error:  # a row from a file was scored without it
                logger.warning(f"{error}; its objects have no contrast")
                continue
            yield image.id, np.rint(255 * luminance(rgb.astype(np.float32) / np.float32(255))).astype(np.uint8)


def _described(trait: Trait, ground_truth: GroundTruthSet) -> list[dict[str, Any]]:
    image = np.array([truth["image_id"] for truth in ground_truth.truths])
    ends = [None, *trait.bounds, None]
    ranged = bool(trait.bounds)
    return [
        {
            "name": name,
            "low": ends[number] if ranged else None,
            "high": ends[number + 1] if ranged else None,
            "objects": objects,
            "images": len(np.unique(image[trait.of == number])),
        }
        for number, (name, objects) in enumerate(zip(trait.names, trait.objects, strict=True))
    ]
