"""Image files to RGB arrays: any mode, any bit depth, any orientation; the only door to Pillow's readers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from segtrain.errors import SegtrainError

if TYPE_CHECKING:
    from torch import Tensor

RgbArray = npt.NDArray[np.uint8]

# How an image must be turned to stand upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)

_REMEDY = "replace the file, or set data.on_bad_image=skip"


def image_path(folder: Path, file_name: str) -> Path:
    """Where an image lies.

    Args:
        folder: the image folder.
        file_name: relative to it, as the json says.

    Raises:
        SegtrainError: the name is empty or leads out of the folder.
    """
    parts = {*PurePosixPath(file_name).parts, *PureWindowsPath(file_name).parts}
    if not file_name or ".." in parts or PurePosixPath(file_name).is_absolute() or PureWindowsPath(file_name).drive:
        raise SegtrainError(f"{folder}: the file name {file_name!r} leads out of the image folder; make it relative")
    return folder / file_name


def read_image(path: Path, size: tuple[int, int] | None = None) -> RgbArray:
    """Read an image as 8-bit RGB, upright.

    Grey becomes three equal channels, alpha is discarded, the first frame stands for an animation. 16-bit grey is
    divided by 257 (65535 becomes 255), whatever range the image uses. Floating-point grey is taken to reach from 0 to
    the smallest of 1, 255 and 65535 that holds its maximum.

    Args:
        path: the file.
        size: (H, W) that the annotations state. If the file's EXIF orientation turns it by 90 degrees, and only the
            unturned image has this size, the annotations were drawn on that one, and it is not turned.

    Returns:
        (H, W, 3) uint8.

    Raises:
        SegtrainError: the file is missing, corrupt, truncated, absurdly large, or of another size than stated.
    """
    with _opened(path) as image:
        image.load()
        orientation = _orientation(image)
        stored = image.height, image.width
        rgb = _to_rgb(image)
    upright = stored[::-1] if orientation in _SIDEWAYS else stored
    if size is None or upright == size:
        return _turn(rgb, orientation)
    if stored == size:
        return rgb
    raise _other_size(path, upright, size)


def check_header(path: Path, size: tuple[int, int]) -> None:
    """Make sure, without decoding the image, that it can be opened and has the size that the annotations state.

    Args:
        path: the file.
        size: (H, W), of the image as it is stored or as its EXIF orientation turns it.

    Raises:
        SegtrainError: the file is missing, no image, absurdly large, or of another size.
    """
    with _opened(path) as image:
        stored = image.height, image.width
        # Last, as it makes Pillow decode some formats.
        sideways = stored != size and _orientation(image) in _SIDEWAYS
    found = stored[::-1] if sideways else stored
    if found != size:
        raise _other_size(path, found, size)


def as_tensor(image: RgbArray) -> "Tensor":
    """(H, W, 3) uint8 to a contiguous (3, H, W) tensor, as segmenters take it."""
    import cv2  # here, so that what only checks files starts without them
    import torch

    planes = np.empty((3, *image.shape[:2]), dtype=np.uint8)
    cv2.split(image, list(planes))  # several times faster than a permuted copy
    return torch.from_numpy(planes)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose header is read; what goes wrong in the block is an error that names the file."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken EXIF blocks and of large images; both are read, or refused.
            warnings.simplefilter("ignore")
            with path.open("rb") as stream, Image.open(stream) as image:
                yield image
    except UnidentifiedImageError as error:
        raise SegtrainError(f"{path}: cannot read the image (not an image file); {_REMEDY}") from error
    except OSError as error:
        raise SegtrainError(f"{path}: cannot read the image ({error.strerror or error}); {_REMEDY}") from error
    except Exception as error:  # Pillow raises a dozen types on corrupt files
        raise SegtrainError(f"{path}: cannot read the image ({error}); {_REMEDY}") from error


def _other_size(path: Path, found: tuple[int, int], stated: tuple[int, int]) -> SegtrainError:
    return SegtrainError(
        f"{path}: the file is {found[0]}x{found[1]}, the annotations say {stated[0]}x{stated[1]} (height x width); "
        "correct the json or the image"
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation 1..8; 1 if there is none, or a broken one."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is no reason to lose the image
        return 1
    return value if value in _UPRIGHT else 1


def _turn(rgb: RgbArray, orientation: int) -> RgbArray:
    if orientation not in _UPRIGHT:
        return rgb
    return np.array(Image.fromarray(rgb).transpose(_UPRIGHT[orientation]))


def _to_rgb(image: Image.Image) -> RgbArray:
    if image.mode.startswith(("I", "F")):
        return np.repeat(_scale(np.asarray(image))[:, :, None], 3, axis=2)
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        return np.array(converted)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _scale(grey: npt.NDArray[np.generic]) -> RgbArray:
    """Grey of more than 8 bits to 0..255."""
    values = np.nan_to_num(grey.astype(np.float64))
    full = 65535.0
    if np.issubdtype(grey.dtype, np.floating):
        full = next((limit for limit in (1.0, 255.0) if values.max(initial=0) <= limit), full)
    return np.clip(np.rint(values * (255.0 / full)), 0, 255).astype(np.uint8)
