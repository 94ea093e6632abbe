"""Samples of every type become 8-bit RGB: by which range, and what happens to values beyond it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import read_image
from segtrain.data.images.intensities.intensity import (
    FULL,
    Intensity,
    Range,
    blank_pixels,
    grey_levels,
    sample_type,
    to_rgb,
)
from segtrain.data.images.intensities.value_range import choose_range, measure, mixed_scales, standard_range
from segtrain.data.images.samples import Samples
from segtrain.errors import SegtrainError

U16, I16, I32 = (0, 65535), (-32768, 32767), (-(2**31), 2**31 - 1)
FLOAT_MAX = float(np.finfo(np.float32).max)


def samples_of(values: Any, dtype: Any = np.uint16) -> Samples:
    array = np.atleast_2d(np.array(values, dtype=dtype))
    limits = None if array.dtype.kind == "f" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    return Samples(array, limits)


def scene(low: float, high: float, dtype: Any) -> Samples:
    """A background with noise, an eighth of the image, and a disc, from low to high."""
    rng = np.random.default_rng(0)
    grey = rng.uniform(0, 0.125, (40, 40))
    rows, columns = np.mgrid[:40, :40]
    grey[(rows - 15) ** 2 + (columns - 22) ** 2 < 60] = 1
    grey[0, :20] = 0
    scaled = low + grey * (high - low)
    return samples_of(scaled if np.dtype(dtype).kind == "f" else np.rint(scaled), dtype)


# Type, what the images use, and the range that "auto" reads them by.
RULES: dict[str, tuple[Any, tuple[float, float], tuple[float, float]]] = {
    "16 bits": (np.uint16, (0, 65535), (0, 65535)),
    "16 bits, nearly full": (np.uint16, (300, 60000), (0, 65535)),
    "16 bits, a little more than half": (np.uint16, (0, 34000), (0, 65535)),
    "16 bits around the middle": (np.uint16, (31768, 34368), (31768, 34368)),
    "14 of 16 bits": (np.uint16, (0, 16000), (0, 16383)),
    "12 of 16 bits": (np.uint16, (90, 4095), (0, 4095)),
    "10 of 16 bits": (np.uint16, (0, 1000), (0, 1023)),
    "8 of 16 bits": (np.uint16, (0, 255), (0, 255)),
    "a part of 12 bits": (np.uint16, (200, 368), (200, 368)),
    "computed tomography": (np.int16, (-1000, 1600), (-1000, 1600)),
    "signed 16 bits": (np.int16, (-30000, 30000), (-32768, 32767)),
    "signed, none negative": (np.int16, (0, 4000), (0, 4095)),
    "32 bits": (np.int32, (0, 200), (0, 255)),
    "32 bits, 16 used": (np.uint32, (0, 65000), (0, 65535)),
    "64 bits, few values": (np.int64, (0, 300), (0, 300)),
    "unit": (np.float32, (0, 1), (0, 1)),
    "unit, dim": (np.float64, (0, 0.6), (0, 1)),
    "signed unit": (np.float32, (-1, 1), (-1, 1)),
    "slightly negative": (np.float32, (-0.02, 1), (-0.02, 1)),
    "8 bits as floats": (np.float32, (0, 255), (0, 255)),
    "counts": (np.float32, (0, 300), (0, 300)),
    "tiny": (np.float64, (2e-5, 9e-5), (2e-5, 9e-5)),
    "half precision": (np.float16, (0, 1), (0, 1)),
}


@pytest.mark.parametrize("case", RULES)
def test_the_range_that_auto_chooses(case: str) -> None:
    dtype, (low, high), expected = RULES[case]
    samples = scene(low, high, dtype)
    ends = measure(samples)
    assert ends is not None
    chosen = choose_range([ends] * 3, samples.limits, "auto")
    assert chosen == pytest.approx(expected, rel=0.01, abs=1e-9)
    assert choose_range([ends], samples.limits, "percentile") == ends == pytest.approx((low, high), rel=0.01, abs=1e-3)


@pytest.mark.parametrize("case", RULES)
def test_a_disc_stands_out_whatever_the_type(case: str) -> None:
    dtype, (low, high), _ = RULES[case]
    samples = scene(low, high, dtype)
    ends = measure(samples)
    assert ends is not None
    grey = to_rgb(samples, choose_range([ends], samples.limits, "auto"))[..., 0].astype(int)
    assert grey[15, 22] - grey[30, 2] > 90
    assert (grey > (grey.max() + grey.min()) / 2).sum() == (samples.array > (low + high) / 2).sum()


@given(
    arrays.arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6))),
    st.integers(0, 60000),
    st.integers(1, 60000),
)
def test_the_range_is_mapped_linearly_and_cut(array: np.ndarray, low: int, span: int) -> None:
    rgb = to_rgb(Samples(array, U16), Range(low, low + span))
    expected = np.clip(np.rint((array.astype(np.float64) - low) / span * 255), 0, 255)
    assert rgb.dtype == np.uint8
    assert (np.abs(rgb - expected[:, :, None]) <= 1).all()
    assert (rgb[..., 0][array <= low] == 0).all()
    assert (rgb[..., 0][array >= low + span] == 255).all()
    order = np.argsort(array.ravel(), kind="stable")
    assert (np.diff(rgb[..., 0].ravel()[order].astype(int)) >= 0).all()


@given(arrays.arrays(np.uint16, (3, 4)))
def test_the_full_range_of_16_bits_divides_by_257(array: np.ndarray) -> None:
    expected = np.rint(array / 257).astype(np.uint8)
    assert np.array_equal(to_rgb(Samples(array, U16), Range(*U16))[..., 1], expected)


@given(arrays.arrays(np.uint8, (4, 5, 3)), st.sampled_from(["full", "auto"]))
def test_8_bits_stay_as_they_are(array: np.ndarray, rule: Any) -> None:
    samples = Samples(array, (0, 255))
    intensity = Intensity({"uint16": Range(3, 9)}, others=None, rule=rule)
    for each in (FULL, intensity):
        bounds = each.range_of(samples)
        assert bounds == (0, 255)
        assert np.array_equal(to_rgb(samples, bounds), array)
    assert to_rgb(samples).flags.writeable


FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(arrays.arrays(np.float32, (5, 6), elements=FLOATS))
def test_any_floats_are_measured_and_read_without_a_warning(array: np.ndarray) -> None:
    samples = Samples(array, None)
    ends = measure(samples)
    lost = ~(np.abs(array) < 1e20)
    assert (ends is None) == bool(lost.all())
    if ends is not None:
        bounds = choose_range([ends], None, "auto")
        assert bounds.low < bounds.high
        rgb = to_rgb(samples, bounds)
        assert not rgb[lost].any()
        assert np.array_equal(rgb, to_rgb(samples, bounds))


@given(
    arrays.arrays(np.int32, (5, 6), elements=st.integers(-(2**31), 2**31 - 1)), st.sampled_from(["auto", "percentile"])
)
def test_any_integers_are_measured_and_read(array: np.ndarray, rule: Any) -> None:
    ends = measure(Samples(array, I32))
    assert ends is not None
    bounds = choose_range([ends], I32, rule)
    assert bounds.low < bounds.high
    assert to_rgb(Samples(array, I32), bounds).shape == (5, 6, 3)


def test_one_range_for_all_channels_keeps_the_hue() -> None:
    colour = np.zeros((30, 30, 3), np.uint16)
    colour[:, :15] = (4000, 2000, 1000)
    colour[:, 15:] = (400, 200, 100)
    samples = Samples(colour, U16)
    ends = measure(samples)
    assert ends == (100, 4000)
    rgb = to_rgb(samples, choose_range([ends], U16, "auto")).astype(float)
    assert rgb[0, 0] / rgb[0, 0].max() == pytest.approx([1, 0.5, 0.25], abs=0.01)


@pytest.mark.parametrize("hot", [65535, 4095])
@pytest.mark.parametrize("count", [1, 5])
def test_hot_pixels_do_not_turn_an_image_black(hot: int, count: int) -> None:
    samples = scene(200, 368, np.uint16)
    array = samples.array.copy()
    array[np.arange(count), np.arange(count) * 7] = hot
    assert measure(Samples(array, U16)) == pytest.approx((200, 368), abs=2) if count == 1 else True
    images = [measure(scene(200, 368, np.uint16)) for _ in range(40)]
    known = [one for one in images if one is not None]
    outlier = measure(Samples(np.full((9, 9), hot, np.uint16), U16))
    assert outlier is not None
    assert choose_range([*known, outlier], U16, "auto").high < 400  # an overexposed image among forty


def test_small_objects_widen_the_range() -> None:
    grey = np.random.default_rng(0).integers(100, 110, (200, 200)).astype(np.uint16)
    objects = np.zeros((200, 200), np.bool_)
    objects[50:53, 70:73] = objects[120:123, 10:13] = True
    grey[objects] = 900
    assert measure(Samples(grey, U16)) == (100, 109)
    assert measure(Samples(grey, U16), objects) == (100, 900)
    grey[51, 71] = 65535
    assert measure(Samples(grey, U16), objects) == (100, 900)


FILLS: dict[str, tuple[Any, float]] = {
    "not a number": (np.float32, np.nan),
    "infinite": (np.float32, np.inf),
    "largest float": (np.float32, FLOAT_MAX),
    "smallest float": (np.float32, -FLOAT_MAX),
    "netCDF": (np.float64, 9.969209968386869e36),
    "GDAL, floats": (np.float32, -9999),
    "GDAL, integers": (np.int16, -9999),
    "climate models": (np.float32, 1e20),
    "SRTM": (np.int16, -32768),
    "least integer": (np.int32, -(2**31)),
    "greatest integer": (np.uint32, 2**32 - 1),
}


@pytest.mark.parametrize("case", FILLS)
def test_pixels_without_data_are_black_and_do_not_count(case: str) -> None:
    dtype, fill = FILLS[case]
    samples = scene(50, 1450, dtype)
    expected = measure(samples)
    array = samples.array.copy()
    array[30:, :] = fill
    damaged = Samples(array, samples.limits)
    ends = measure(damaged)
    assert expected is not None
    assert ends == pytest.approx(expected, abs=25)
    assert ends is not None
    bounds = choose_range([ends], samples.limits, "auto")
    blank = blank_pixels(damaged, bounds)
    assert blank is not None
    assert blank[30:].all()
    assert blank.sum() == 400
    assert not to_rgb(damaged, bounds)[30:].any()
    assert np.array_equal(to_rgb(damaged, bounds)[:30], to_rgb(samples, bounds)[:30])


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint16, 65535), (np.float32, 1e6), (np.float64, -123456.0)], ids=str)
def test_an_unknown_fill_does_not_widen_the_range(dtype: Any, fill: float) -> None:
    samples = scene(50, 1450, dtype)
    expected = measure(samples)
    array = samples.array.copy()
    array[30:, :] = fill
    filled, objects = Samples(array, samples.limits), np.zeros((40, 40), np.bool_)
    assert measure(filled) == measure(filled, objects) == pytest.approx(expected, abs=25)
    objects[30:] = True
    ends = measure(filled, objects)
    assert ends is not None
    assert fill in ends


def test_the_values_of_a_drawing_all_count() -> None:
    drawn = np.zeros((20, 20), np.uint16)
    drawn[:, 5:10], drawn[:, 15:] = 3, 60000
    assert measure(Samples(drawn, U16)) == (0, 60000)


def test_a_short_fill_is_one_far_from_small_values() -> None:
    samples = scene(0, 200, np.float32)
    array = samples.array.copy()
    array[:10] = -999
    ends = measure(Samples(array, None))
    assert ends == pytest.approx((0, 200), abs=5)
    blank = blank_pixels(Samples(array, None), Range(0, 255))
    assert blank is not None
    assert blank[:10].all()


def test_what_the_file_marks_holds_no_data() -> None:
    samples = scene(0, 200, np.uint16)
    array, valid = samples.array.copy(), np.ones((40, 40), np.bool_)
    array[:10], valid[:10] = 60000, False
    marked = Samples(array, U16, valid)
    assert measure(marked) == pytest.approx((0, 200), abs=2)
    assert not to_rgb(marked, Range(0, 255))[:10].any()
    assert blank_pixels(samples, Range(0, 255)) is None


def test_what_the_file_marks_in_8_bits_is_black(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(1, 255, (20, 30)).astype(np.uint8)
    grey[:5] = 255
    path = tmp_path / "a.tif"
    for stored, photometric, mark in ((grey, "minisblack", "255"), (255 - grey, "miniswhite", "0")):
        tifffile.imwrite(path, stored, photometric=photometric, extratags=[(42113, "s", 0, mark, True)])
        found = read_image(path)
        assert not found[:5].any()
        assert np.array_equal(found[5:, :, 1], grey[5:])


def test_values_like_fills_within_the_range_are_values() -> None:
    height = np.linspace(-12000, 9000, 400).reshape(20, 20).astype(np.int16)
    height[3, 4] = -9999
    samples = Samples(height, I16)
    ends = measure(samples)
    assert ends is not None
    assert ends.low < -11000
    assert blank_pixels(samples, ends) is None
    assert measure(samples_of(np.full((4, 4), np.nan), np.float32)) is None


def test_a_constant_image_has_a_range() -> None:
    samples = samples_of(np.full((5, 5), 700))
    ends = measure(samples)
    assert ends == (700, 700)
    assert ends is not None
    bounds = choose_range([ends], U16, "auto")
    assert bounds == (700, 701)
    assert not to_rgb(samples, bounds).any()


@pytest.mark.parametrize(("setting", "kind", "expected"), [
    ("full", np.uint16, (0, 65535)),
    ("full", np.int16, (-32768, 32767)),
    ("full", np.float32, (0, 1)),
    ("full", np.uint8, (0, 255)),
    ([5, 9], np.uint16, (5, 9)),
    ([5, 9], np.uint8, (5, 9)),
    ({"uint16": [5, 9]}, np.uint16, (5, 9)),
    ({"uint16": [5, 9]}, np.uint8, (0, 255)),
    ({"uint16": [5, 9]}, np.float32, None),
])  # fmt: skip
def test_settings(setting: Any, kind: Any, expected: Any) -> None:
    intensity = Intensity.given(setting)
    assert intensity is not None
    assert intensity.range_of(samples_of([[0, 1]], kind)) == expected
    assert Intensity.from_plain(intensity.to_plain()) == intensity == pickle.loads(pickle.dumps(intensity))
    assert str(intensity).isprintable()


def test_settings_that_need_images_and_wrong_ones() -> None:
    assert Intensity.given("auto") is None
    assert Intensity.given("percentile") is None
    with pytest.raises(SegtrainError, match=r"data.intensity: the range \[9, 9\] has no width; give"):
        Intensity.given((9, 9))


def test_floats_beyond_one_have_no_full_range(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for grey in (np.linspace(0, 300, 12), np.linspace(-1, 1, 12)):
        Image.fromarray(grey.reshape(3, 4).astype(np.float32)).save(path)
        with pytest.raises(ImageError, match=r"a\.tif: samples of type float32 have no full range") as error:
            read_image(path)
        assert error.value.kind == "image-intensity"
        assert "give data.intensity=[LOW, HIGH]" in str(error.value)
        given_range = Intensity.given([float(grey.min()), float(grey.max())])
        assert given_range is not None
        assert read_image(path, intensity=given_range)[[0, -1], [0, -1], 0].tolist() == [0, 255]


def test_types_are_told_apart_by_their_bits() -> None:
    names = [sample_type(samples_of(0, kind)) for kind in (np.uint8, np.uint16, np.int16, np.int32, np.float64)]
    assert names == ["uint8", "uint16", "int16", "int32", "float64"]
    assert sample_type(Samples(np.zeros((1, 1), np.uint16), (0, 4095))) == "uint12"


def test_floats_of_different_scales_are_told() -> None:
    unit, bytes_, dim = Range(0, 0.9), Range(0, 250), Range(0, 0.2)
    assert mixed_scales([unit] * 9 + [bytes_]) == [((0, 1), 9), ((0, 255), 1)]
    assert not mixed_scales([unit] * 30 + [bytes_])
    assert not mixed_scales([unit, dim])
    assert not mixed_scales([bytes_, Range(0, 900)])
    assert not mixed_scales([])


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.sampled_from([None, U16, I16, I32]))
def test_a_standard_range_holds_the_values_and_is_well_used(
    low: float, span: float, limits: tuple[int, int] | None
) -> None:
    ends = Range(low, low + span)
    found = standard_range(ends, limits)
    if found is not None:
        assert found.low <= ends.low <= ends.high <= found.high
        assert 2 * ends.span >= found.span
        assert grey_levels(ends, found) >= 127


@given(st.lists(st.tuples(st.integers(0, 60000), st.integers(0, 5000)), min_size=1, max_size=19), st.randoms())
def test_ranges_do_not_depend_on_the_order_and_hold_few_images(pairs: list[tuple[int, int]], random: Any) -> None:
    measured = [Range(low, low + span) for low, span in pairs]
    chosen = choose_range(measured, U16, "percentile")
    assert all(chosen.low <= one.low and one.high <= chosen.high for one in measured)
    random.shuffle(measured)
    assert choose_range(measured, U16, "percentile") == chosen
