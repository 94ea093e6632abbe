"""Metrics of one large image with many objects.

    python benchmarks/many_masks.py --check

One image of 7000x5000 pixels is generated for the run, and others of the same density: N ellipses of 8 to 24 pixels at
random positions as true objects, about a third of which overlap or touch others, and as many detections: half of them
truths that are shifted by up to two pixels, a quarter duplicates of these, the rest anywhere. Each function gets the
records as ``segtrain.evaluation`` hands them over, and starts from the run-length codes.

- ours, for N = 16,000: the functions that merge or compare the masks of an image, each in one thread. There is no other
  side: the bound is on the seconds of processor time of each. ``many_contrast`` reads the image's grey values besides.
- growth: the sum over all of them for 64,000 masks on 140 megapixels, in units of that for 4,000 on 9. It should follow
  the runs of the masks, times their logarithm: 16 times as many runs take some 20 times as long.

Rows: ``many_union``, ``many_matching``, ``many_boxes``, ``many_pixels``, ``many_segments``, ``many_outlines``,
``many_errors``, ``many_overlaps``, ``many_crowding``, ``many_merges``, ``many_contrast``, ``many_growth``.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from harness import arguments, finish
from rows import Row

from segtrain import masks
from segtrain.boxes import xyxy_to_xywh
from segtrain.metrics import registry
from segtrain.metrics.candidates import pairs_in_images
from segtrain.metrics.matching import match
from segtrain.metrics.metric import MetricInput
from segtrain.metrics.strata import ks_contrast
from segtrain.metrics.tide import error_costs
from segtrain.metrics.touching import crowding, crowding_of_truths, merges_and_splits, touching_parts
from segtrain.records import GroundTruth, Prediction

SIZE = (5000, 7000)
SECONDS = 2.0  # at most, for each function
GROWTH = 24.0  # at most, for 16 times as many masks


def generate(count: int, size: tuple[int, int]) -> MetricInput:
    """Draw the true objects and the detections."""
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(0, side, count) for side in size], axis=1)
    radii = rng.uniform(4, 12, (count, 2))
    real = [_ellipse(place, radius, size) for place, radius in zip(places, radii, strict=True)]
    hits, twice = count // 2, count // 4
    chosen = np.append(rng.permutation(count)[:hits], rng.integers(0, hits, twice))
    moved = places[chosen] + rng.integers(-2, 3, (len(chosen), 2))
    anywhere = np.stack([rng.integers(0, side, count - len(chosen)) for side in size], axis=1)
    sides = np.concatenate([radii[chosen], rng.uniform(4, 12, (len(anywhere), 2))])
    found = [_ellipse(*own, size) for own in zip(np.concatenate([moved, anywhere]), sides, strict=True)]
    return MetricInput(
        truths=_truths(real),
        masks=[
            Prediction(image_id=1, category_id=1, segmentation=rle, score=score)
            for rle, score in zip(found, rng.random(len(found)).tolist(), strict=True)
        ],
        boxes=None,
        category_ids=[1],
        sizes={1: size},
        max_dets=count,
        score_threshold=0.0,
    )


def _truths(rles: Sequence[masks.Rle]) -> list[GroundTruth]:
    boxes = xyxy_to_xywh(masks.boxes(rles)).tolist()
    return [
        GroundTruth(id=n, image_id=1, category_id=1, segmentation=rle, bbox=box, area=float(area), iscrowd=0)
        for n, (rle, box, area) in enumerate(zip(rles, boxes, masks.area(rles).tolist(), strict=True), 1)
    ]


def _ellipse(centre: np.ndarray, radii: np.ndarray, size: tuple[int, int]) -> masks.Rle:
    reach = np.ceil(radii).astype(int)
    rows, columns = np.ogrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    inside = (rows / radii[0]) ** 2 + (columns / radii[1]) ** 2 <= 1
    return masks.encode_crop(inside, int(centre[1] - reach[1]), int(centre[0] - reach[0]), size)


def functions(inputs: MetricInput) -> dict[str, Callable[[], object]]:
    """List the functions that are measured, by the name of the row."""
    truths, found, size = inputs.truths, inputs.operating_point, inputs.sizes[1]
    real = [truth["segmentation"] for truth in truths]
    grey = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    parts = touching_parts(truths, crowding_of_truths(truths), sizes=inputs.sizes)
    inputs.matches("segm")  # error types are found among these

    def matched(iou_type: str) -> object:
        return match(truths, found, image_ids=[1], category_ids=[1], iou_type="segm" if iou_type == "segm" else "bbox")

    return {
        "many_union": lambda: masks.union(real, size),
        "many_matching": lambda: matched("segm"),
        "many_boxes": lambda: matched("bbox"),
        "many_pixels": lambda: registry.pixels(inputs),
        "many_segments": lambda: registry.segments(inputs),
        "many_outlines": lambda: registry.boundary_pixels(inputs),
        "many_errors": lambda: error_costs(inputs),
        "many_overlaps": lambda: pairs_in_images(truths, found),
        "many_crowding": lambda: crowding(real),
        "many_merges": lambda: merges_and_splits(parts, found),
        "many_contrast": lambda: ks_contrast(grey, real),
    }


def measure(count: int, size: tuple[int, int], repeats: int) -> dict[str, float]:
    """Measure the median seconds of each function."""
    seconds = {}
    for name, function in functions(generate(count, size)).items():
        spent = []
        for _ in range(repeats + 1):
            started = time.process_time()
            function()
            spent.append(time.process_time() - started)
        seconds[name] = median(spent[1:])
    return seconds


def main(options: argparse.Namespace) -> None:
    """Measure the rows."""
    few, some, many = options.masks
    found = {}
    for count in (few, some, many):
        side = (count / some) ** 0.5
        found[count] = measure(count, (round(SIZE[0] * side), round(SIZE[1] * side)), options.repeats)
    sums = {count: sum(seconds.values()) for count, seconds in found.items()}
    scale = f"{some:,} masks, as many detections, {SIZE[1]}x{SIZE[0]} pixels"
    rows = [Row(name, scale, "s", seconds, None, SECONDS) for name, seconds in found[some].items()]
    each = ", ".join(f"{count:,}: {seconds:.2f} s" for count, seconds in sums.items())
    rows.append(
        Row(
            "many_growth",
            f"all of these, {many:,} against {few:,} masks; {each}",
            "x",
            sums[many] / sums[few],
            None,
            GROWTH,
        )
    )
    finish(rows, options)


if __name__ == "__main__":
    parser = arguments("Metrics of one large image with many objects.")
    parser.add_argument(
        "--masks", type=int, nargs=3, default=(4_000, 16_000, 64_000), metavar="N", help="numbers of masks"
    )
    main(parser.parse_args())
