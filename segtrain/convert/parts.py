"""Parts of a data set: which images are for training, validation or tests, by what a source or its folders say."""

from collections.abc import Sequence
from pathlib import Path

from segtrain.convert.labelled import LabelledImage
from segtrain.data.layouts import part_of

_OTHERS = "others"


def divide(images: Sequence[LabelledImage], folder: Path) -> dict[str, list[LabelledImage]]:
    """Divide images into the parts that their source or their folders put them in.

    Args:
        images: images.
        folder: folder that holds all of them.

    Returns:
        Images by the name of the part; all under "" where there is one part alone.
    """
    parts: dict[str, list[LabelledImage]] = {}
    for image in images:
        names = [image.split] if image.split else reversed(image.path.absolute().relative_to(folder).parts[:-1])
        own = next((part for name in names if (part := part_of(name))), _OTHERS)
        parts.setdefault(own, []).append(image)
    order = [part for part in ("train", "val", "test", _OTHERS) if part in parts]
    return {part: parts[part] for part in order} if len(parts) > 1 else {"": list(images)}
