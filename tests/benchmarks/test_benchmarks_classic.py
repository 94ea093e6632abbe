"""The benchmarks of the classical methods on small images, and their pixel loops against the package's functions."""

from pathlib import Path

import clustering
import literal
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segtrain.segmenters.classical import regions, threshold
from tests.benchmarks.test_benchmarks import measured


def blobs(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, axis=0).repeat(8, axis=1)
    noise = rng.integers(-20, 20, (height, width, 3))
    return ((steps[:height, :width] + noise).clip(0, 255) / 255).astype(np.float32)


images = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 255) | st.sampled_from([0, 128, 255]))
)


@given(images, st.floats(0, 1), st.floats(0, 1))
def test_thresholds_are_the_pixel_loop(image: np.ndarray, low: float, high: float) -> None:
    grey = image / np.float32(255)
    double = grey.astype(np.float64)
    # Fixed cuts in the precision of the image: between the two precisions of a number lies no grey.
    low, high = float(np.float32(low)), float(np.float32(high))
    assert np.array_equal(regions.above_mean(grey), literal.above_mean(double))
    assert np.array_equal(threshold.levels(grey, low=low, high=high), literal.levels(double, low, high))


def test_literal_rows_hold_on_a_small_image() -> None:
    rows = literal.measure(regions.luminance(blobs(40, 50)), "blobs", repeats=1)
    assert [row.name for row in rows] == ["literal_mean", "literal_levels", "literal_sobel", "literal_laplace"]
    assert [row.bound for row in rows] == [1000, 1000, 1, 1]
    assert all(row.ratio is not None and row.ratio > 1 for row in rows)
    assert rows[0].what == "40x50 of blobs; identical masks"


def test_a_mask_that_differs_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def sloppy(grey: np.ndarray) -> np.ndarray:
        mask = literal.above_mean(grey.astype(float))
        mask[3, 4] = ~mask[3, 4]
        return mask

    monkeypatch.setattr(regions, "above_mean", sloppy)
    with pytest.raises(SystemExit, match="literal_mean: 1 of 2000 pixels differ from the pixel loop's"):
        literal.measure(regions.luminance(blobs(40, 50)), "blobs", repeats=1)


def test_the_clustering_row_on_small_images() -> None:
    row = clustering.measure([blobs(48, 64, seed) for seed in range(2)], "blobs", repeats=1)
    assert (row.name, row.bound) == ("clustering", 40)
    assert row.what.startswith("2 images of blobs, 64x48; inertia at most ")
    assert row.ratio is not None
    assert row.ratio > 1


def test_a_worse_inertia_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clustering, "ours", lambda pixels: (pixels[..., 0] > 0.5).astype(int))
    with pytest.raises(SystemExit, match=r"clustering: inertia .* times scikit-learn's on image 1, 1.01 is the most"):
        clustering.measure([blobs(48, 64)], "blobs", repeats=1)


def test_inertia_is_the_sum_of_squared_distances_to_means() -> None:
    pixels = np.array([[[0, 0, 0], [1, 0, 0], [5, 5, 5]]], dtype=np.float32)
    assert clustering.inertia(pixels, np.array([[0, 0, 1]])) == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("clustering.py", ["clustering"]),
        ("literal.py", ["literal_mean", "literal_levels", "literal_sobel", "literal_laplace"]),
    ],
)
def test_the_scripts_run_on_drawn_data(script: str, names: list[str], tmp_path: Path) -> None:
    rows, printed = measured(script, tmp_path)
    assert list(rows) == names
    assert all(values["ratio"] > 1 for values in rows.values())
    assert printed.count("drawn data") == len(names)


@pytest.mark.slow
def test_saving_is_measured(tmp_path: Path) -> None:
    rows, printed = measured("saving.py", tmp_path)
    assert list(rows) == ["checkpoint_save"]
    assert "% of 5 minutes" in printed
