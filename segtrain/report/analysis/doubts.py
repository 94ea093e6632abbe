"""What a reader must know of intervals and p that say little."""

from collections.abc import Mapping

from segtrain.evaluation import GroundTruthSet
from segtrain.metrics.bootstrap import CLEAR
from segtrain.report.analysis.mappings import METRICS
from segtrain.report.analysis.shortfall import SIZES, of_size

LEAST_IMAGES = 2  # a number whose objects lie in fewer has no interval
_FEW = 20  # images: intervals from fewer are too narrow


def images_behind(ground_truth: GroundTruthSet) -> dict[str, int]:
    """How many images hold true objects that a number averages over: of any size ("mask_ap"), or of its own."""
    real = [truth for truth in ground_truth.truths if not truth["iscrowd"]]
    own = {"mask_ap": real, **{key: of_size(real, place) for key, (place, _) in SIZES.items()}}
    return {key: len({truth["image_id"] for truth in truths}) for key, truths in own.items()}


def doubts(images: int, behind: Mapping[str, int], rows: int, resamples: int) -> list[str]:
    """The doubts about the intervals and p of a benchmark, a line each.

    Args:
        images: that are drawn from.
        behind: how many of them the numbers rest on; see ``images_behind``.
        rows: that are compared with Mask R-CNN.
        resamples: of the images; 0 for none.
    """
    if not resamples:
        return []
    found, holding = [], behind["mask_ap"]
    if images == 1:
        found.append("One image says nothing of others: there are no intervals")
    elif holding == 1:
        found.append(f"Only 1 of {images:,} images holds true objects: there are no intervals")
    elif images < _FEW:
        found.append(f"Only {images} images: intervals from resampling so few are too narrow")
    elif 0 < holding < _FEW:
        found.append(
            f"Only {holding} of {images:,} images hold true objects: intervals from resampling so few are too narrow"
        )
    fewer = {key: count for key, count in behind.items() if 0 < count < min(holding, _FEW)}
    if fewer:
        said = [
            f"{column.title} ({fewer[column.key]} images, interval too narrow)"
            if fewer[column.key] >= LEAST_IMAGES
            else f"{column.title} (1 image, so no interval)"
            for column in METRICS
            if column.key in fewer
        ]
        these = "these sizes" if len(said) > 1 else "this size"
        found.append(f"Few images hold objects of {these}: {', '.join(said)}")
    if rows / (resamples + 1) >= CLEAR:
        found.append(
            f"bootstrap.resamples={resamples} are too few for {rows} comparisons: no p is below "
            f"{rows / (resamples + 1):.3f}; take {20 * rows:,} or more"
        )
    return found
