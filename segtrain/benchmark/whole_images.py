"""Methods that need images whole which are too large for that, and are left out of an evaluation."""

from collections.abc import Sequence

from segtrain.benchmark.methods import Method
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.large_image import large_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.io import printable


def with_windows_where_needed(methods: Sequence[Method], split: Split) -> tuple[list[Method], list[str]]:
    """Choose the methods that can segment all images, as large ones are read by windows only.

    Args:
        methods: all methods of the evaluation.
        split: the evaluated images.

    Returns:
        The methods that cut each large image into windows, or segment none; and notes that name the others, with the
        remedy.

    Raises:
        SegtrainError: no method is left.
    """
    large = [] if split.images is None else large_images(split.images, split.index.images)
    if not large:
        return list(methods), []
    sizes = {image.size for image in large}
    able = [method for method in methods if all(method.reads_windows(size) for size in sizes)]
    groups: dict[str, list[str]] = {}
    for method in methods:
        if method not in able:
            groups.setdefault(method.remedy_for_windows, []).append(method.name)
    notes = [f"{', '.join(names)} left out: {_why(large)}; {_remedy(large, own)}" for own, names in groups.items()]
    if not able:
        raise SegtrainError(f"{split.index.path}: {'; '.join(notes)}")
    return able, notes


def _why(large: Sequence[ImageInfo]) -> str:
    first = f"{printable(large[0].file_name)}, {large[0].height}x{large[0].width}"
    named = f"the first {first}" if len(large) > 1 else first
    have = "image has" if len(large) == 1 else "images have"
    return f"whole images are needed, and {len(large):,} {have} more pixels than data.max_image_pixels ({named})"


def _remedy(large: Sequence[ImageInfo], windows: str) -> str:
    most = max(image.height * image.width for image in large)
    return f"{windows}, or read images whole with data.max_image_pixels={most}"
