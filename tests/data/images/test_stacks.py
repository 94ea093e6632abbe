"""Files of several pages, frames and channels: which of them are the image."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from segtrain.data.check.image_checks import check_headers, check_pixels, count_formats
from segtrain.data.images.decode import decode, decode_pages
from segtrain.data.images.headers import read_header
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import ImageReader, read_image
from segtrain.data.images.reading import Reading, check_channels, one_image_pages
from segtrain.errors import SegtrainError
from tests.data.images.test_tiff import Array, noise
from tests.data.test_image_checks import REAL, Entry, found, needs_real_data


def array(path: Path, size: tuple[int, int] | None = None, **settings: Any) -> Array:
    return decode(path, size, Reading(**settings)).array


def refusal(path: Path, **settings: Any) -> tuple[str, str]:
    errors = []
    for call in (decode, read_header):
        with pytest.raises(ImageError) as caught:
            call(path, None, Reading(**settings))
        errors.append((caught.value.kind, str(caught.value)))
    assert errors[0] == errors[1]
    return errors[0]


def test_pages_that_differ_are_refused_or_projected(tmp_path: Path) -> None:
    path, pages = tmp_path / "a.tif", noise((3, 12, 16), "uint16")
    pages[0] = 0
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None)
    kind, message = refusal(path)
    assert kind == "image-pages"
    assert "3 pages that differ, uint16 grey each; set data.pages=first, max or mean" in message
    assert "set data.channels, such as [0,1,2]" in message
    assert np.array_equal(array(path, pages="first"), pages[0])
    assert np.array_equal(array(path, pages="max"), pages.max(axis=0))
    assert np.array_equal(array(path, pages="mean"), np.rint(pages.mean(axis=0)))
    assert np.array_equal(array(path, channels=(2, 1, 0)), np.moveaxis(pages[::-1], 0, -1))
    assert np.array_equal(array(path, channels=(1,)), pages[1])
    assert "3 channels, numbered from 0, and channel 3 is asked for" in refusal(path, channels=(3,))[1]
    each = list(decode_pages(path, Reading()))
    assert [np.array_equal(page.array, pages[k]) for k, page in enumerate(each)] == [True] * 3


def test_a_projection_of_floats_passes_over_what_is_no_number(tmp_path: Path) -> None:
    pages = noise((3, 4, 5), "float32")
    pages[1, 2, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    assert np.array_equal(array(tmp_path / "a.tif", pages="max"), np.nanmax(pages, axis=0))
    mean = pages.astype(np.float64).mean(axis=0).astype(np.float32)
    assert np.array_equal(array(tmp_path / "a.tif", pages="mean"), mean, equal_nan=True)


def test_equal_pages_are_one_image(tmp_path: Path) -> None:
    page = noise((12, 16), "float32")
    page[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", np.stack([page] * 3), photometric="minisblack")
    assert np.array_equal(array(tmp_path / "a.tif"), page, equal_nan=True)
    header = read_header(tmp_path / "a.tif", None, Reading())
    assert (header.pages, header.how) == (3, "the first of equal pages, as three equal channels")


@pytest.mark.parametrize("writer", ["imagej", "ome", "shaped"])
def test_axes_tell_channels_from_pages(tmp_path: Path, writer: str) -> None:
    path, stack = tmp_path / "a.tif", noise((4, 2, 12, 16), "uint16")
    about: dict[str, Any] = {"photometric": "minisblack"} if writer == "shaped" else {writer: True}
    tifffile.imwrite(path, stack, metadata={"axes": "ZCYX"}, **about)
    assert "4 pages that differ (4 slices), 2 channels of uint16 each" in refusal(path)[1]
    assert refusal(path, pages="max")[0] == "image-channels"
    assert np.array_equal(array(path, pages="max", channels=(1,)), stack[:, 1].max(axis=0))
    assert np.array_equal(array(path, pages="first", channels=(1, 0, 1)), np.moveaxis(stack[0, [1, 0, 1]], 0, -1))
    tifffile.imwrite(path, stack[0, [0, 1, 0]], metadata={"axes": "CYX"}, **about)
    assert np.array_equal(array(path), np.moveaxis(stack[0, [0, 1, 0]], 0, -1))
    tifffile.imwrite(path, stack[:3, 0], metadata={"axes": "ZYX"}, **about)
    kind, message = refusal(path, channels=(0, 1, 2))  # slices are no channels
    assert kind == "image-pages"
    assert "3 pages that differ (3 slices)" in message


@pytest.mark.parametrize("order", ["TZCYX", "TCZYX", "ZCTYX", "CTZYX"])
def test_every_order_of_dimensions(tmp_path: Path, order: str) -> None:
    sizes = {"T": 2, "Z": 3, "C": 3}
    stack = noise((*(sizes[axis] for axis in order[:3]), 6, 7))
    tifffile.imwrite(tmp_path / "a.tif", stack, ome=True, metadata={"axes": order})
    highest = stack.max(axis=(order.index("T"), order.index("Z")))
    assert np.array_equal(array(tmp_path / "a.tif", pages="max"), np.moveaxis(highest, 0, -1))


def test_axes_that_contradict_the_pages_are_not_believed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noise((6, 12, 16)), imagej=True, metadata={"axes": "ZYX"})
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content.replace(b"slices=6", b"slices=4"))
    assert "6 pages that differ, uint8" in refusal(tmp_path / "a.tif")[1]
    ome = b'<OME><Image><Pixels DimensionOrder="XYZCT" SizeC="99999" SizeZ="99999" SizeT="9"/></Image></OME>'
    tifffile.imwrite(tmp_path / "a.tif", noise((6, 12, 16)), description=ome, metadata=None)
    assert "6 pages that differ, uint8" in refusal(tmp_path / "a.tif")[1]


def test_a_hyperstack_of_one_directory_has_all_of_its_pages(tmp_path: Path) -> None:
    """ImageJ writes files beyond 4 GB like this."""
    path, stack = tmp_path / "a.tif", noise((3, 12, 16))
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        place = page.offset + 2 + 12 * len(page.tags)
    content = bytearray(path.read_bytes())
    content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 1
    assert "3 pages that differ (3 slices)" in refusal(path)[1]
    assert np.array_equal(array(path, pages="max"), stack.max(axis=0))


def test_thumbnails_and_pyramids_are_no_conflict(tmp_path: Path) -> None:
    path, whole, half = tmp_path / "a.tif", noise((16, 20, 3)), noise((8, 10, 3))
    for below in (0, 1):
        with tifffile.TiffWriter(path) as file:
            file.write(whole, photometric="rgb", subifds=below, metadata=None)
            file.write(half, photometric="rgb", subfiletype=1, metadata=None)
        assert np.array_equal(array(path), whole)
        assert read_header(path, (16, 20), Reading()).others == 1
    with tifffile.TiffWriter(path) as file:
        file.write(half, photometric="rgb", subfiletype=1, metadata=None)
        file.write(whole, photometric="rgb", metadata=None)
    assert np.array_equal(array(path), whole)
    assert np.array_equal(array(path, (8, 10)), half)  # the annotations are of it


def test_an_image_and_a_mask_are_two_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise((16, 20, 3)), photometric="rgb", metadata=None)
        file.write(noise((16, 20)), photometric="minisblack", metadata=None)
    assert "2 pages of different kinds, the first of them uint8 RGB" in refusal(tmp_path / "a.tif")[1]
    assert "of which there is no mean" in refusal(tmp_path / "a.tif", pages="mean")[1]
    assert np.array_equal(array(tmp_path / "a.tif", pages="first"), noise((16, 20, 3)))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:  # a mask of what is transparent is no page
        file.write(noise((16, 20, 3)), photometric="rgb", metadata=None)
        file.write(noise((16, 20)) > 9, photometric="minisblack", subfiletype=4, metadata=None)
    assert np.array_equal(array(tmp_path / "a.tif"), noise((16, 20, 3)))


@pytest.mark.parametrize("number", [2, 4, 5, 6])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_channels_without_a_meaning_have_to_be_chosen(tmp_path: Path, number: int, planar: str) -> None:
    path, bands = tmp_path / "a.tif", noise((12, 16, number))
    stored = bands if planar == "contig" else np.moveaxis(bands, -1, 0)
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar)
    kind, message = refusal(path)
    assert kind == "image-channels"
    assert f"{number} channels, and nothing says which are red, green and blue; set data.channels" in message
    assert np.array_equal(array(path, channels=(1, 0, 1)), bands[:, :, [1, 0, 1]])
    assert np.array_equal(array(path, channels=(number - 1,)), bands[:, :, -1])
    assert f"channel {number} is asked for" in refusal(path, channels=(number,))[1]


def test_three_channels_without_a_name_are_colours(tmp_path: Path) -> None:
    bands = noise((12, 16, 3), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    assert np.array_equal(array(tmp_path / "a.tif"), bands)
    assert read_header(tmp_path / "a.tif", None, Reading()).how == "channels 0, 1, 2 as red, green and blue"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_channels_of_ordinary_images(tmp_path: Path, suffix: str) -> None:
    pixels = noise((12, 16, 4))
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(array(tmp_path / f"a.{suffix}", channels=(2, 1, 0)), pixels[:, :, [2, 1, 0]])
    assert np.array_equal(array(tmp_path / f"a.{suffix}", channels=(3,)), pixels[:, :, 3])
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / f"grey.{suffix}")
    assert np.array_equal(array(tmp_path / f"grey.{suffix}", channels=(0,)), pixels[:, :, 0])
    kind, message = refusal(tmp_path / f"grey.{suffix}", channels=(2, 1, 0))
    assert kind == "image-channels"
    assert "1 channel, numbered from 0, and channel 2 is asked for" in message


@pytest.mark.parametrize("suffix", ["png", "ppm", "jp2"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colour_of_16_bits_keeps_them(tmp_path: Path, suffix: str, alpha: bool) -> None:
    pixels = noise((130, 140, 3 + alpha), "uint16")
    if suffix == "png" or not alpha:
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), pixels)
        stored = cv2.imread(str(tmp_path / f"a.{suffix}"), cv2.IMREAD_UNCHANGED)
        assert stored is not None
        read = decode(tmp_path / f"a.{suffix}", None, Reading())
        assert (read.array.dtype, read.limits) == (np.uint16, (0, 65535))
        assert np.array_equal(read.array, stored[:, :, [2, 1, 0]])
        assert np.array_equal(array(tmp_path / f"a.{suffix}", channels=(1,)), stored[:, :, 1])
        assert read_header(tmp_path / f"a.{suffix}", None, Reading()).deep
    if alpha and suffix == "png":
        assert np.array_equal(array(tmp_path / "a.png", channels=(3,)), pixels[:, :, 3])


def test_a_ppm_of_10_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1024, (5, 6, 3))
    (tmp_path / "a.ppm").write_bytes(b"P6\n6 5\n1023\n" + values.astype(">u2").tobytes())
    read = decode(tmp_path / "a.ppm", None, Reading())
    assert read.limits == (0, 1023)
    assert np.array_equal(read.array, values)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animations_are_refused_unless_their_frames_are_equal(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.fromarray(np.full((12, 16, 3), grey, dtype=np.uint8)) for grey in (10, 200))
    about = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], duration=100, **about)
    assert "2 pages that differ" in refusal(tmp_path / f"a.{suffix}")[1]
    assert array(tmp_path / f"a.{suffix}", pages="first").max() == 10
    assert array(tmp_path / f"a.{suffix}", pages="mean").max() == 105
    assert [page.array.max() for page in decode_pages(tmp_path / f"a.{suffix}", Reading())] == [10, 200]


def test_the_further_pictures_of_a_jpeg_are_previews(tmp_path: Path) -> None:
    first, second = (Image.fromarray(noise((16, 24, 3), seed=seed)) for seed in (0, 1))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    first.save(tmp_path / "b.jpg")
    assert np.array_equal(array(tmp_path / "a.jpg"), array(tmp_path / "b.jpg"))
    assert read_header(tmp_path / "a.jpg", None, Reading()).others == 1


def test_settings_are_checked() -> None:
    with pytest.raises(SegtrainError, match=r"data\.pages=each: the annotations .* use error, first, max or mean, or"):
        one_image_pages("each")
    for channels in ([], [0, 1], [0, 1, 2, 3], [-1], [True]):
        with pytest.raises(SegtrainError, match="give one channel, which is read as grey, or three"):
            check_channels(channels, "data.channels")


def test_the_check_counts_formats_and_says_how_they_are_read(tmp_path: Path) -> None:
    Image.fromarray(noise((4, 6, 3))).save(tmp_path / "0.png")
    Image.fromarray(noise((4, 6))).save(tmp_path / "1.png")
    Image.fromarray(noise((4, 6))).save(tmp_path / "2.png")
    tifffile.imwrite(tmp_path / "3.tif", noise((3, 4, 6)), photometric="minisblack")
    tifffile.imwrite(tmp_path / "4.tif", noise((4, 6, 3), "float32"), photometric="rgb")
    entries = [Entry(k, name) for k, name in enumerate(sorted(path.name for path in tmp_path.iterdir()))]
    report = check_headers(entries, ImageReader(tmp_path, "auto", 10**6, pages="max"))
    assert [(entry.format, entry.content, entry.how, entry.count) for entry in count_formats(report)] == [
        ("PNG", "8-bit grey", "as three equal channels", 2),
        ("PNG", "8-bit RGB", "", 1),
        ("TIFF", "uint8 grey, 3 pages", "the maximum of the pages, as three equal channels", 1),
        ("TIFF", "float32 RGB", "", 1),
    ]
    reader = ImageReader(tmp_path, "auto", 10**6, pages="max", channels=(0,))
    assert np.array_equal(reader.read(entries[3])[:, :, 1], noise((3, 4, 6)).max(axis=0))
    assert found(report.issues)["image-pages-joined"] == [
        "3.tif (image 3): uint8 grey, 3 pages: the maximum of the pages, as three equal channels"
    ]


def test_images_of_which_most_is_transparent_are_found(tmp_path: Path) -> None:
    pixels = noise((10, 10, 4))
    pixels[:, :, 3] = 255
    pixels[:6, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "0.png")
    tifffile.imwrite(tmp_path / "1.tif", pixels.astype(np.uint16) * 257, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray(pixels[3:]).save(tmp_path / "2.png")
    entries = [Entry(0, "0.png", (10, 10)), Entry(1, "1.tif", (10, 10)), Entry(2, "2.png", (7, 10))]
    report = check_pixels(entries, ImageReader(tmp_path, "auto", 10**6))
    assert found(report.issues) == {
        "image-transparent": [
            f"{name}: 60% of its pixels are transparent" for name in ("0.png (image 0)", "1.tif (image 1)")
        ]
    }
    assert np.array_equal(read_image(tmp_path / "0.png"), pixels[:, :, :3])


@needs_real_data
@pytest.mark.parametrize(
    ("case", "settings", "kinds"),
    [
        ("tiff_zstack_first_page_empty", {}, {"image-pages"}),
        ("tiff_zstack_first_page_empty", {"pages": "max"}, set()),
        ("tiff_rgb_float", {}, set()),
        ("git_lfs_pointers", {}, {"image-foreign"}),
        ("camera_12bit_tiff", {}, set()),
    ],
)
def test_cases_of_public_reports(case: str, settings: dict[str, Any], kinds: set[str]) -> None:
    folder = REAL / "cases" / case / "images"
    entries = []
    for number, path in enumerate(sorted(folder.iterdir())):
        size = (64, 88) if "zstack" in case else (80, 112)
        entries.append(Entry(number, path.name, size))
    report = check_headers(entries, ImageReader(folder, "auto", 10**6, **settings))
    assert {issue.kind for issue in report.issues.of("error")} == kinds
    assert len(report.unusable) == (len(entries) if kinds else 0)


def test_pages_of_other_sizes_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Levels of a pyramid and thumbnails, which have the shape of the image, are left out without a word."""
    for name, sizes in (("pyramid", [(40, 60), (20, 30), (10, 15)]), ("mixed", [(40, 60), (50, 30), (40, 60)])):
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as file:
            for size in sizes:
                file.write(noise(size, "uint8"), metadata=None)
    assert [page.array.shape for page in decode_pages(tmp_path / "pyramid.tif", Reading())] == [(40, 60)]
    assert not caplog.messages
    assert [page.array.shape for page in decode_pages(tmp_path / "mixed.tif", Reading())] == [(40, 60)] * 2
    assert "mixed.tif: 1 page of other sizes than the first left out" in caplog.text
