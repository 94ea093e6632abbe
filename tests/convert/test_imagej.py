"""ImageJ's regions of interest, converted."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import draw

from segtrain.cli.main import main
from tests.helpers.conversions import (
    HOLE,
    SIZE,
    SQUARE,
    STAR,
    assert_equal,
    convert,
    draw_image,
    objects,
    polygon_plane,
)


def roi(
    kind: int,
    box: tuple[int, int, int, int] = (0, 0, 0, 0),
    points: Sequence[Sequence[float]] = (),
    *,
    sub_pixel: bool = False,
    path: Sequence[float] = (),
    floats: Sequence[float] = (),
) -> bytes:
    """Write a region as ``ij.io.RoiEncoder`` does; box is left, top, right, bottom."""
    left, top, right, bottom = box
    header = bytearray(64)
    header[:8] = b"Iout" + struct.pack(">HBx", 228, kind)
    header[8:18] = struct.pack(">4hH", top, left, bottom, right, len(points))
    if floats:
        header[18:34] = struct.pack(">4f", *floats)
    header[36:40] = struct.pack(">i", len(path))
    header[50:52] = struct.pack(">H", 128 if sub_pixel else 0)
    if path:
        return bytes(header) + struct.pack(f">{len(path)}f", *path)
    whole = [[int(x) - left for x, _ in points], [int(y) - top for _, y in points]]
    body = b"".join(struct.pack(f">{len(points)}h", *axis) for axis in whole)
    if sub_pixel and points:
        body += b"".join(struct.pack(f">{len(points)}f", *axis) for axis in zip(*points, strict=True))
    return bytes(header) + body


def path_of(*rings: Sequence[Sequence[float]]) -> list[float]:
    numbers: list[float] = []
    for ring in rings:
        for place, (x, y) in enumerate(ring):
            numbers += [0 if place == 0 else 1, x, y]
        numbers.append(4)
    return numbers


def write_zip(path: Path, regions: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in regions.items():
            archive.writestr(name, content)
    return path


WHOLE = [[10, 4], [30, 8], [22, 31], [6, 20]]


@pytest.mark.parametrize("name", ["a.zip", "a_RoiSet.zip", "RoiSet.zip"])
def test_every_type_is_an_independent_raster(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    regions = {
        "1.roi": roi(0, (6, 4, 30, 31), WHOLE),
        "2.roi": roi(7, (6, 4, 31, 32), STAR, sub_pixel=True),
        "3.roi": roi(8, (34, 10, 52, 30), SQUARE),
        "4.roi": roi(1, (3, 30, 15, 37)),
        "5.roi": roi(2, (33, 5, 53, 17)),
        "6.roi": roi(1, (34, 10, 52, 30), path=path_of(SQUARE, HOLE, [[2, 2], [5, 2], [5, 5], [2, 5]])),
        "7.roi": roi(1, (3, 30, 15, 37), sub_pixel=True, floats=(3.4, 30.2, 11.0, 6.4)),
        "8.roi": roi(10, (0, 0, 5, 5), [[1, 1]]),
        "9.roi": b"no region",
    }
    draw_image(tmp_path / "a.tif")
    write_zip(tmp_path / name, regions)
    content = convert(tmp_path, tmp_path / "out.json", "--classes", "nucleus")
    box, oval = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    box[30:37, 3:15] = True
    oval[draw.ellipse(10.5, 42.5, 6, 10, shape=SIZE)] = True
    composite = polygon_plane(SQUARE) & ~polygon_plane(HOLE)
    composite[2:5, 2:5] = True
    fine = np.float32([[3.4, 30.2], [14.4, 30.2], [14.4, 36.6], [3.4, 36.6]])
    planes = [polygon_plane(WHOLE), polygon_plane(STAR), polygon_plane(SQUARE), box, oval, composite]
    expected = [("nucleus", plane) for plane in [*planes, polygon_plane(fine.tolist())]]
    assert_equal(objects(content)["a.tif"], expected)
    out = capsys.readouterr().out
    assert f"regions that are no area: points: {name}, 8.roi" in out
    assert f"regions that cannot be read: {name}, 9.roi (it is no region of ImageJ)" in out


def test_files_of_roifile(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    draw_image(tmp_path / "a.png")
    region: Any = roifile.ImagejRoi.frompoints(np.array(STAR, np.float32))
    region.roitype = roifile.ROI_TYPE.FREEHAND
    region.tofile(tmp_path / "a.roi")
    assert_equal(objects(convert(tmp_path, tmp_path / "out.json"))["a.png"], [("object", polygon_plane(STAR))])


def test_damaged_archives_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "a.png")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 1.roi")
    assert main(["convert", str(tmp_path), str(tmp_path / "out.json"), "--format", "imagej"]) == 1
    assert "a.zip: cannot be read (File is not a zip file); save the regions again" in capsys.readouterr().err
