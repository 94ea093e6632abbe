"""Images on which an exported network is tried."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from segtrain.arrays import RgbArray
from segtrain.data.images.decode import decode
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import range_of_image
from segtrain.data.images.intensities.intensity import Intensity, to_rgb
from segtrain.data.images.reading import Reading
from segtrain.data.open_data import data_root
from segtrain.errors import SegtrainError
from segtrain.io import IMAGE_EXTENSIONS, expand_path, printable
from segtrain.training.checkpoint import Checkpoint

_TRIED = 8  # images of a folder


def sample_images(checkpoint: Checkpoint, given: Sequence[str | Path] = ()) -> list[tuple[str, RgbArray]]:
    """Read the images that are given, or else some of the data that the network was trained with.

    Args:
        checkpoint: content of the network's checkpoint.
        given: paths of image files.

    Returns:
        Name and uint8 RGB pixels (H, W, 3) of each image; nothing if none is given and the data are gone.

    Raises:
        SegtrainError: a given file cannot be read.
    """
    data = checkpoint.config.get("data", {})
    channels = data.get("channels")
    reading = Reading(data.get("exif", "auto"), pages="first", channels=None if channels is None else tuple(channels))
    intensity = Intensity.from_plain(checkpoint.intensity)
    images = []
    for path in [expand_path(one) for one in given] or list(_images_of_run(checkpoint)):
        try:
            samples = decode(path, None, reading)
            images.append((path.name, to_rgb(samples, range_of_image(samples, intensity, path))))
        except ImageError as error:
            if given:
                raise SegtrainError(f"{printable(path)}: {error.reason}; give another --image") from None
    return images


def _images_of_run(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield image files of the validation and of the training, those that are there."""
    data = checkpoint.config.get("data", {})
    for folder in (data.get("val_images"), data.get("train_images")):
        root = data_root(data) if isinstance(folder, str) else None
        if isinstance(root, Path) and (root / folder).is_dir():
            files = (path for path in sorted((root / folder).iterdir()) if path.suffix.lower() in IMAGE_EXTENSIONS)
            yield from islice(files, _TRIED)
