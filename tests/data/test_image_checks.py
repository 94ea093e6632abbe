"""The check of image files: every kind of issue from a file that shows it, and identical files by their content."""

import itertools
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segtrain.data.check import image_checks, set_checks
from segtrain.data.check.image_checks import check_headers, check_pixels
from segtrain.data.check.load import load_index
from segtrain.data.check.set_checks import find_duplicates, find_leaks
from segtrain.data.coco.issues import ISSUE_TYPES, Issue, Issues
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.opening import pillow_settings
from segtrain.data.images.orientation import Exif

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="SEGTRAIN_REAL_DATA names no folder with real data")


@dataclass(frozen=True)
class Entry:
    id: int
    file_name: str
    size: tuple[int, int] = (4, 6)


def picture(height: int = 4, width: int = 6, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def turned(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(path, exif=exif)


def cut(path: Path) -> None:
    picture(64, 64).save(path)
    path.write_bytes(path.read_bytes()[:-2000])


def found(issues: Issues) -> dict[str, list[str]]:
    for issue in issues:
        assert issue.kind in ISSUE_TYPES
        assert issue.count >= len(issue.examples)
        assert all(example.isprintable() for example in issue.examples)
    return {issue.kind: issue.examples for issue in issues}


# Kind: (file name, what makes the file, the example).
UNUSABLE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "image-missing": ("a.png", lambda path: None, "a.png (image 5): cannot read the image (No such file or directory)"),
    "image-unreadable": (
        "a.png",
        lambda path: path.write_bytes(b"hello"),
        "a.png (image 5): cannot read the image (a text file)",
    ),
    "image-outside-folder": (
        "../a.png",
        lambda path: picture().save(path),
        "../a.png (image 5): the file name '../a.png' leads out of the image folder",
    ),
    "image-too-large": (
        "a.png",
        lambda path: Image.new("1", (1001, 1000)).save(path),
        "a.png (image 5): the image has 1001000 pixels, more than the limit of 1000000",
    ),
    "image-size": (
        "a.png",
        lambda path: picture(5, 6).save(path),
        "a.png (image 5): the file is 5x6, the annotations say 4x6 (height x width)",
    ),
}
NOTES: dict[str, tuple[str, Callable[[Path], object], dict[str, str]]] = {
    "exif, turned": (
        "a.png",
        lambda path: turned(path, 3),
        {"image-exif": "EXIF orientation 3, read turned upright, 4x6"},
    ),
    "exif, not turned": (
        "a.png",
        lambda path: turned(path, 6),
        {"image-exif": "EXIF orientation 6, read as stored, 4x6"},
    ),
    "upright": ("a.png", lambda path: turned(path, 1), {}),
    "cmyk": ("a.jpg", lambda path: picture().convert("CMYK").save(path), {"image-cmyk": "CMYK"}),
    "grey": ("a.jpg", lambda path: picture().convert("L").save(path), {"image-grey": "grey (L)"}),
    "black and white": ("a.png", lambda path: picture().convert("1").save(path), {"image-grey": "grey (1)"}),
    "grey and alpha": (
        "a.png",
        lambda path: picture().convert("LA").save(path),
        {"image-grey": "grey (LA)", "image-alpha": "transparency (LA)"},
    ),
    "palette": ("a.png", lambda path: picture().quantize(8).save(path), {"image-palette": "palette"}),
    "transparent palette": (
        "a.png",
        lambda path: picture().quantize(8).save(path, transparency=bytes(range(8))),
        {"image-palette": "palette", "image-alpha": "transparency (P)"},
    ),
    "alpha": ("a.png", lambda path: picture().convert("RGBA").save(path), {"image-alpha": "transparency (RGBA)"}),
    **{
        f"16 bits, {suffix}": (
            f"a.{suffix}",
            lambda path: Image.fromarray(np.full((4, 6), 4000, dtype=np.uint16)).save(path),
            {"image-grey": f"grey ({mode})", "image-deep": f"more than 8 bits ({mode})"},
        )
        for suffix, mode in (("png", "I;16"), ("tif", "I;16"), ("pgm", "I"))
    },
    "float": (
        "a.tif",
        lambda path: Image.fromarray(np.full((4, 6), 0.5, dtype=np.float32)).save(path),
        {"image-grey": "grey (F)", "image-deep": "more than 8 bits (F)"},
    ),
    "one frame, gif": ("a.gif", lambda path: picture().save(path), {"image-palette": "palette"}),
    "colour": ("a.jpg", lambda path: picture().save(path), {}),
    "lab": ("a.tif", lambda path: Image.new("LAB", (6, 4)).save(path), {}),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_makes_an_image_unusable(tmp_path: Path, kind: str) -> None:
    name, make, example = UNUSABLE[kind]
    (tmp_path / "images").mkdir()
    make(tmp_path / "images" / name)
    report = check_headers([Entry(5, name)], ImageReader(tmp_path / "images", "auto", 10**6))
    assert found(report.issues) == {kind: [example]}
    assert not report.headers
    (reason,) = report.unusable.values()
    assert str(tmp_path / "images") in reason
    assert example.partition(": ")[2] in reason


@pytest.mark.parametrize("case", NOTES)
def test_how_an_image_is_read_is_noted(tmp_path: Path, case: str) -> None:
    name, make, notes = NOTES[case]
    make(tmp_path / name)
    reader = ImageReader(tmp_path, "auto", 10**6)
    report = check_headers([Entry(5, name)], reader)
    assert found(report.issues) == {kind: [f"{name} (image 5): {what}"] for kind, what in notes.items()}
    assert not report.unusable
    status = (tmp_path / name).stat()
    header = report.headers[5]
    assert (header.path, header.bytes, header.mtime_ns) == (tmp_path / name, status.st_size, status.st_mtime_ns)
    assert header.size == (4, 6)
    assert found(check_pixels([Entry(5, name)], reader).issues).keys() <= {"image-constant"}


def test_colour_of_16_bits_is_deep(tmp_path: Path) -> None:
    import cv2

    for suffix in ("png", "tiff"):
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.full((4, 6, 3), 4000, dtype=np.uint16))
        report = check_headers([Entry(5, f"a.{suffix}")], ImageReader(tmp_path, "auto", 10**6))
        assert list(found(report.issues)) == ["image-deep"], suffix


@pytest.mark.parametrize(("exif", "size", "kind"), [
    ("apply", (6, 4), "image-exif"), ("apply", (4, 6), "image-size"), ("ignore", (4, 6), "image-exif"),
    ("ignore", (6, 4), "image-size"), ("auto", (4, 6), "image-exif"), ("auto", (6, 4), "image-exif"),
])  # fmt: skip
def test_the_setting_decides_which_size_is_right(tmp_path: Path, exif: Exif, size: tuple[int, int], kind: str) -> None:
    turned(tmp_path / "a.jpg", 8)
    report = check_headers([Entry(5, "a.jpg", size)], ImageReader(tmp_path, exif, 100))
    assert list(found(report.issues)) == [kind]


def test_pixels_that_break_off_are_told_from_what_is_no_image(tmp_path: Path) -> None:
    cut(tmp_path / "a.png")
    entries = [Entry(5, "a.png", (64, 64))]
    reader = ImageReader(tmp_path, "auto", 10**6)
    assert not found(check_headers(entries, reader).issues)
    report = check_pixels(entries, reader)
    assert found(report.issues) == {
        "image-truncated": ["a.png (image 5): cannot read the image (image file is truncated)"]
    }
    assert "a.png: cannot read the image (image file is truncated); replace the file" in report.unusable[5]


@pytest.mark.parametrize("waits", [False, True])
def test_examples_come_in_file_order_and_all_are_counted(
    tmp_path: Path, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_checks, "_waits_for_disk", lambda *_: waits)
    names = [f"{i}.png" for i in range(100)]
    for name in names[::2]:
        picture().convert("L").save(tmp_path / name)
    calls: list[int] = []
    entries = [Entry(i, name) for i, name in enumerate(names)]
    reader = ImageReader(tmp_path, "auto", 10**6)
    report = check_headers(entries, reader, lambda: calls.append(threading.get_ident()))
    assert calls == [threading.get_ident()] * 100
    missing = report.issues["image-missing"]
    assert (missing.count, [e.split()[0] for e in missing.examples]) == (50, ["1.png", "3.png", "5.png"])
    assert report.issues["image-grey"].count == 50
    assert list(report.unusable) == list(range(1, 100, 2))
    assert list(report.headers) == list(range(0, 100, 2))
    pixels = check_pixels(entries, reader, lambda: calls.append(0))
    assert (calls[100:], list(pixels.unusable)) == ([0] * 100, list(range(1, 100, 2)))


def test_threads_help_where_the_disk_has_to_be_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(ImageReader):
        def check(self, image: image_checks.ImageEntry) -> image_checks.Header:
            time.sleep(0.005)
            return super().check(image)

    picture().save(tmp_path / "a.png")
    entries = [Entry(i, "a.png") for i in range(640)]
    started = time.perf_counter()
    assert len(check_headers(entries, Slow(tmp_path, "auto", 100)).headers) == 640
    assert time.perf_counter() - started < 640 * 0.005 / 2


def test_nothing_of_pillows_own_settings_is_left_changed(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    check_pixels([Entry(i, "a.png") for i in range(200)], ImageReader(tmp_path, "auto", 10**6))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before
    with pillow_settings(10), pytest.raises(RuntimeError), pillow_settings(20):
        raise RuntimeError
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_an_interrupted_check_stops(tmp_path: Path) -> None:
    picture(1000, 1000).save(tmp_path / "a.png")
    entries = [Entry(i, "a.png", (1000, 1000)) for i in range(10_000)]

    def stop() -> None:
        raise KeyboardInterrupt

    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        check_pixels(entries, ImageReader(tmp_path, "auto", 10**6), stop)
    assert time.perf_counter() - started < 10


def test_no_images_give_no_findings(tmp_path: Path) -> None:
    assert not found(check_headers([], ImageReader(tmp_path, "auto", 1)).issues)
    assert not found(find_duplicates({}))
    assert not found(find_leaks({}, {}))


def write(folder: Path, **contents: bytes) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


HEAD, LONG = b"h" * 2**16, b"h" * 2**16 + b"l" * 2**21


def test_duplicates_are_files_of_the_same_content(tmp_path: Path) -> None:
    files = write(
        tmp_path / "a", one=b"x", two=b"x", other=b"y", three=b"x", long=LONG, same=LONG, end=LONG[:-1] + b"e"
    )
    issues = find_duplicates(dict(enumerate(files.values(), start=1)))
    assert found(issues) == {
        "image-duplicate": [
            "a/one (image 1) and a/two (image 2) are identical, and 1 more",
            "a/long (image 5) and a/same (image 6) are identical",
        ]
    }
    assert issues["image-duplicate"].count == 3


def test_a_leak_names_both_sides(tmp_path: Path) -> None:
    train = write(tmp_path / "train", a=b"x", b=b"x", c=LONG, d=b"only here", e=b"?")
    val = write(tmp_path / "val", a=b"z", b=b"x", c=LONG, d=b"only there", e=b"x")
    issues = find_leaks(dict(enumerate(train.values())), dict(enumerate(val.values())))
    assert found(issues) == {
        "leak": [
            "val/b (image 1), and 1 more in validation: identical to train/a (image 0) in training",
            "val/c (image 2) in validation: identical to train/c (image 2) in training",
        ]
    }
    assert issues["leak"].count == 3


def test_the_same_file_is_known_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = write(tmp_path / "a", one=b"x").values()
    (tmp_path / "a" / "link").symlink_to("one")
    (tmp_path / "a" / "hard").hardlink_to(path)
    monkeypatch.setattr(set_checks, "open_file", lambda path: pytest.fail("opened"))
    assert find_duplicates({1: path, 2: path})["image-duplicate"].count == 1
    for other in (path, tmp_path / "a" / "link", tmp_path / "a" / "hard", tmp_path / "a" / ".." / "a" / "one"):
        assert found(find_leaks({1: path}, {7: other})) == {
            "leak": [f"a/{other.name} (image 7) in validation: identical to a/one (image 1) in training"]
        }


def test_little_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of sizes that one side alone has; of the others the head, and all only where the heads agree."""
    train = write(tmp_path / "train", a=b"1", b=b"1", c=b"12" * 2**16, d=b"21" * 2**16, e=HEAD + b"12" * 2**15)
    val = write(tmp_path / "val", a=b"123", c=b"34" * 2**16, e=HEAD + b"34" * 2**15)
    read: list[tuple[str, int]] = []
    whole = set_checks._hash
    monkeypatch.setattr(set_checks, "_hash", lambda path, limit: read.append((path.name, limit)) or whole(path, limit))
    assert not found(find_leaks(dict(enumerate(train.values())), dict(enumerate(val.values()))))
    assert sorted(read) == [*[("c", 2**16)] * 2, ("d", 2**16), *[("e", 2**16)] * 2, *[("e", 2**17)] * 2]


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    files = write(tmp_path / "a", one=b"x", two=b"x")
    os.mkfifo(tmp_path / "a" / "pipe")
    odd = [tmp_path / "a" / "pipe", tmp_path / "a" / "none", tmp_path / "a", tmp_path / "a\0"]
    paths = dict(enumerate([*odd, *files.values(), *odd]))
    assert find_duplicates(paths)["image-duplicate"].count == 1
    assert find_leaks({1: files["one"], 2: odd[0]}, {2: odd[0], 3: odd[1], 4: odd[3]})["leak"].count == 0


def groups(contents: list[bytes]) -> Iterator[list[int]]:
    for _, group in itertools.groupby(sorted(range(len(contents)), key=lambda i: contents[i]), lambda i: contents[i]):
        yield list(group)


CONTENTS = st.lists(st.sampled_from([b"", b"a", b"b", b"ab", HEAD, HEAD + b"a", HEAD + b"b"]), max_size=8)


@given(train=CONTENTS, val=CONTENTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_identical_files_are_those_with_equal_bytes(tmp_path: Path, train: list[bytes], val: list[bytes]) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    paths = [
        dict(enumerate(write(tmp_path / side, **{f"f{i}": content for i, content in enumerate(contents)}).values()))
        for side, contents in (("train", train), ("val", val))
    ]
    assert find_duplicates(paths[0])["image-duplicate"].count == sum(len(group) - 1 for group in groups(train))
    assert find_leaks(*paths)["leak"].count == sum(content in train for content in val)


NASTY = {
    "exif/Landscape_0.jpg": [],
    "exif/Landscape_1.jpg": [],
    "exif/Landscape_3.jpg": ["image-exif"],
    "exif/Landscape_6.jpg": ["image-exif"],
    "exif/Landscape_8.jpg": ["image-exif"],
    "exif/LICENSE": ["image-unreadable"],
    "pillow/16bit.cropped.tif": ["image-grey", "image-deep", "image-constant"],
    "pillow/LICENSE": ["image-unreadable"],
    "pillow/broken_data_stream.png": ["image-truncated"],
    "pillow/hopper_16bit.pgm": ["image-grey", "image-deep"],
    "pillow/hopper_bad_exif.jpg": ["image-grey"],
    "pillow/hopper_gray.jpg": ["image-grey"],
    "pillow/hopper_orientation_6.jpg": ["image-exif"],
    "pillow/invalid-exif.jpg": [],
    "pillow/la.tga": ["image-grey", "image-alpha"],
    "pillow/pil_sample_cmyk.jpg": ["image-cmyk"],
    "pillow/transparent.png": ["image-alpha", "image-transparent"],
    "pillow/truncated_jpeg.jpg": ["image-truncated"],
}


def check(entries: list[Entry], folder: Path) -> Issues:
    reader = ImageReader(folder, "auto", 200_000_000)
    headers = check_headers(entries, reader)
    good = [entry for entry in entries if entry.id in headers.headers]
    pixels = check_pixels(good, reader)
    assert not headers.unusable.keys() & pixels.unusable.keys()
    headers.issues.merge(pixels.issues)
    return headers.issues


@needs_real_data
def test_nasty_files_give_the_expected_findings() -> None:
    present = [
        str(path.relative_to(REAL / "nasty"))
        for part in ("exif", "pillow")
        for path in (REAL / "nasty" / part).iterdir()
    ]
    assert sorted(present) == sorted(NASTY)
    for name, kinds in NASTY.items():
        try:
            with Image.open(REAL / "nasty" / name) as image:
                size = image.height, image.width
        except OSError:
            size = 1, 1
        assert sorted(found(check([Entry(1, name, size)], REAL / "nasty"))) == sorted(kinds), name


@needs_real_data
@pytest.mark.parametrize(
    ("annotations", "images", "expected"),
    [
        ("nuclei/annotations/instances_train.json", "nuclei/images/train", {"image-grey": 364}),
        ("coco/annotations/instances_train2017.json", "coco/train2017", {"image-grey": 1}),
    ],
)
def test_real_data_is_usable(annotations: str, images: str, expected: dict[str, int]) -> None:
    index = load_index(REAL / annotations)
    issues: list[Issue] = list(check(index.images, REAL / images))  # type: ignore[arg-type]
    assert {issue.kind: issue.count for issue in issues} == expected
