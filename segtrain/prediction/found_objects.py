"""Objects found in an image: their numbers in all files of a prediction, and what ``objects.csv`` says of each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from skimage.measure import regionprops

from segtrain.data.images.samples import Samples
from segtrain.masks import Rle, area, decode_crop
from segtrain.records import Category, Instances
from segtrain.segmenters.windows import Window

COLUMNS = (
    "image", "object", "category", "score", "area_px", "centroid_x", "centroid_y", "box_x", "box_y", "box_width",
    "box_height", "perimeter_px", "eccentricity", "solidity", "mean_1", "mean_2", "mean_3", "pixel_size_um", "area_um2",
    "perimeter_um", "centroid_x_um", "centroid_y_um",
)  # fmt: skip


class FoundObject(NamedTuple):
    """Object found in an image.

    Attributes:
        number: number among the objects of all images, from 1.
        category: its category.
        score: its score.
        rle: its mask, of the image's size.
        pixels: number of pixels of the mask.
    """

    number: int
    category: Category
    score: float
    rle: Rle
    pixels: int


def found_objects(instances: Instances, categories: Sequence[Category], first: int) -> list[FoundObject]:
    """Number the instances of an image.

    Args:
        instances: instances of the image.
        categories: categories of labels 1..K; the first one is also that of label 0, of class-agnostic methods.
        first: number of the first object.

    >>> import numpy as np
    >>> box, score = np.array([[1, 0, 2, 2]], np.float32), np.array([0.5], np.float32)
    >>> instances = Instances((2, 3), box, np.array([0]), score, [{"size": [2, 3], "counts": "222"}])
    >>> [(one.number, one.category.name, one.pixels) for one in found_objects(instances, [Category(1, "cell")], 7)]
    [(7, 'cell', 2)]
    """
    labels, scores, pixels = instances.labels.tolist(), instances.scores.tolist(), area(instances.rles).tolist()
    return [
        FoundObject(first + place, categories[max(label - 1, 0)], score, rle, count)
        for place, (label, score, rle, count) in enumerate(zip(labels, scores, instances.rles, pixels, strict=True))
    ]


def object_rows(
    image: str,
    objects: Sequence[FoundObject],
    samples: Callable[[Window], Samples],
    pixel_size: float | None,
) -> Iterator[dict[str, Any]]:
    """Measure the objects of an image with scikit-image's ``regionprops``.

    Args:
        image: name of the image.
        objects: objects of the image.
        samples: function that returns a part of the image as its file stores it, for mean intensities by channel.
        pixel_size: width of a pixel in micrometres; None if it is not known, which leaves columns in micrometres empty.

    Yields:
        Values by the names of `COLUMNS`; places are in pixels, (0, 0) being the centre of the first one, as in
        scikit-image; boxes begin at the edge of a pixel, as in COCO.
    """
    for found in objects:
        crop, x, y = decode_crop(found.rle)
        height, width = crop.shape
        intensities = samples(Window(x, y, x + width, y + height)).array.astype(np.float64)
        (region,) = regionprops(crop.astype(np.uint8), intensity_image=intensities)
        top, left, bottom, right = region.bbox
        means = np.atleast_1d(region.intensity_mean).tolist()
        row: dict[str, Any] = {
            "image": image, "object": found.number, "category": found.category.name, "score": round(found.score, 4),
            "area_px": found.pixels, "centroid_x": x + region.centroid[1], "centroid_y": y + region.centroid[0],
            "box_x": x + left, "box_y": y + top, "box_width": right - left, "box_height": bottom - top,
            "perimeter_px": region.perimeter, "eccentricity": region.eccentricity, "solidity": _solidity(region),
        }  # fmt: skip
        row |= {f"mean_{channel}": mean for channel, mean in enumerate(means, start=1)}
        if pixel_size is not None:
            row["pixel_size_um"] = pixel_size
            row["area_um2"] = found.pixels * pixel_size**2
            row["perimeter_um"] = region.perimeter * pixel_size
            row |= {f"centroid_{axis}_um": row[f"centroid_{axis}"] * pixel_size for axis in "xy"}
        yield {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}


def _solidity(region: Any) -> float:
    """Return the share of the convex hull that the object fills; 1 for objects too thin to have a hull."""
    if min(region.image.shape) < 3 or region.area < 3:
        return 1.0
    return float(region.solidity)
