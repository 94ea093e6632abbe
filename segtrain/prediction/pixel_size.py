"""Physical size of pixels, as microscopes write it into TIFF files."""

import re
from pathlib import Path

import tifffile

# Micrometres in the units of ImageJ and OME-TIFF.
_UNITS = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "\\u00b5m": 1.0,
    "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "pm": 1e-6, "å": 1e-4,
}  # fmt: skip


def pixel_size_of(path: Path) -> float | None:
    """Read the width of a pixel in micrometres from an ImageJ or OME TIFF.

    The resolution in other files is that of printing, and has nothing to do with the size of a pixel in the object.

    Args:
        path: path of an image file.

    Returns:
        Micrometres; None where the file does not state them, or pixels are not square (within 1 %).
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    try:
        with tifffile.TiffFile(path) as file:
            sides = _ome(file.ome_metadata) if file.is_ome else _imagej(file)
    except (OSError, ValueError, KeyError, IndexError, TypeError, ZeroDivisionError, tifffile.TiffFileError):
        return None  # whether the file is an image is found out where it is decoded
    if sides is None or not 0 < sides[0] < float("inf") or abs(sides[1] / sides[0] - 1) > 0.01:
        return None
    return sides[0]


def _ome(text: str | None) -> tuple[float, float] | None:
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text or "")
    if pixels is None:
        return None
    sides = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', pixels[0])
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', pixels[0])
        scale = _UNITS.get(unit[1].lower()) if unit else 1.0
        if size is None or scale is None:
            return None
        sides.append(float(size[1]) * scale)
    return sides[0], sides[1]


def _imagej(file: tifffile.TiffFile) -> tuple[float, float] | None:
    metadata = file.imagej_metadata
    scale = _UNITS.get(str((metadata or {}).get("unit", "")).lower())
    if scale is None:
        return None
    page = file.pages.first
    x, y = (page.tags[name].value for name in ("XResolution", "YResolution"))
    return scale * x[1] / x[0], scale * y[1] / y[0]
