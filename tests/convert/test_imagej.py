"""ImageJ's regions of interest, converted."""

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
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
    subtype: int = 0,
    position: int = 0,
    hyperstack: tuple[int, int, int] | None = None,
) -> bytes:
    """Write a region as ``ij.io.RoiEncoder`` does; box is left, top, right, bottom."""
    left, top, right, bottom = box
    header = bytearray(64)
    header[:8] = b"Iout" + struct.pack(">HBx", 228, kind)
    header[8:18] = struct.pack(">4hH", top, left, bottom, right, len(points))
    if floats:
        header[18:34] = struct.pack(">4f", *floats)
    header[36:40] = struct.pack(">i", len(path))
    header[48:52] = struct.pack(">2H", subtype, 128 if sub_pixel else 0)
    header[56:60] = struct.pack(">i", position)
    if hyperstack:
        header[60:64] = struct.pack(">i", 64)
        return bytes(header) + struct.pack(">4i", 0, *hyperstack) + bytes(48)
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


def test_slices_become_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = np.random.default_rng(0).integers(0, 60_000, (4, *SIZE)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    boxes = {"all": (3, 30, 15, 37), "second": (20, 2, 30, 9), "fourth": (40, 2, 50, 9)}
    regions = {
        "1.roi": roi(1, boxes["all"]),
        "2.roi": roi(1, boxes["second"], position=2),
        "3.roi": roi(1, boxes["fourth"], hyperstack=(1, 4, 1)),
        "4.roi": roi(1, boxes["all"], position=9),
        "5.roi": roi(1, boxes["all"], hyperstack=(1, 2, 2)),
    }
    write_zip(tmp_path / "a.zip", regions)
    found = objects(convert(tmp_path, tmp_path / "out.json"))
    for place, name in ((2, "second"), (4, "fourth")):
        planes = []
        for left, top, right, bottom in (boxes["all"], boxes[name]):
            plane = np.zeros(SIZE, bool)
            plane[top:bottom, left:right] = True
            planes.append(("object", plane))
        assert_equal(found[f"a_slice{place:04}.tif"], planes)
        assert (tifffile.imread(tmp_path / "out_images" / f"a_slice{place:04}.tif") == pages[place - 1]).all()
    out = capsys.readouterr().out
    assert "regions of slices that the image does not have: a.zip, 4.roi: 9" in out
    assert "5.roi (it is of slice 2 and frame 2 of a hyperstack" in out


def test_texts_pictures_and_endless_paths_are_no_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = (3, 30, 15, 37)
    odd = {"text.roi": roi(1, box, subtype=1), "image.roi": roi(1, box, subtype=4)}
    odd["inf.roi"] = roi(0, path=[0, 1, 1, 1, 5, 5, float("inf"), 3, 3])
    odd["nan.roi"] = roi(2, box, sub_pixel=True, floats=(float("nan"), 1, 2, 3))
    draw_image(tmp_path / "a.png")
    write_zip(tmp_path / "a.zip", {"good.roi": roi(1, box), **odd})
    assert len(convert(tmp_path, tmp_path / "out.json")["annotations"]) == 1
    out = capsys.readouterr().out
    assert "regions that are no area: text: a.zip, text.roi" in out
    assert "2  regions that cannot be read: a.zip, inf.roi (a number is not finite, or too large)" in out


@pytest.mark.parametrize(("flags", "method"), [(1, 0), (0, 99)])
def test_archives_that_python_cannot_open_are_one_line(
    flags: int, method: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_image(tmp_path / "a.png")
    content = bytearray(write_zip(tmp_path / "a.zip", {"1.roi": roi(1, (1, 1, 9, 9))}).read_bytes())
    entry = content.find(b"PK\1\2")
    content[6], content[8], content[entry + 8], content[entry + 10] = flags, method, flags, method
    (tmp_path / "a.zip").write_bytes(content)
    assert main(["convert", str(tmp_path), str(tmp_path / "out.json")]) == 1
    assert "a.zip: cannot be read (" in capsys.readouterr().err


def test_damaged_archives_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(tmp_path / "a.png")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 1.roi")
    assert main(["convert", str(tmp_path), str(tmp_path / "out.json"), "--format", "imagej"]) == 1
    assert "a.zip: cannot be read (File is not a zip file); save the regions again" in capsys.readouterr().err
