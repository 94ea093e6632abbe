"""k-means of colour histograms against brute force and against scikit-learn on all pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from omegaconf import OmegaConf
from scipy import ndimage
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info, threadpool_limits

from segtrain.segmenters.classical import kmeans

CONFIG = OmegaConf.load(Path(__file__).parents[2] / "configs" / "segmenter" / "kmeans.yaml")["method"]
SHIPPED = {name: int(CONFIG[name]) for name in ("clusters", "bits", "restarts", "seed")}


def test_a_fit_runs_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other take forty times as long where other programs use their cores."""
    threads: list[int] = []
    fit = KMeans.fit

    def spy(*given: Any, **settings: Any) -> Any:
        threads.extend(pool["num_threads"] for pool in threadpool_info())
        return fit(*given, **settings)

    monkeypatch.setattr(KMeans, "fit", spy)
    with threadpool_limits(2):
        kmeans.cluster(picture(0, 16, 16), clusters=2, bits=5, restarts=1, seed=0)
        assert threads
        assert set(threads) == {1}
        assert {pool["num_threads"] for pool in threadpool_info()} == {2}


def picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Soft clouds in crisp shapes of other colours, with noise: (H, W, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    clouds = ndimage.gaussian_filter(rng.random((height, width, 3)), (12, 12, 0))
    clouds = (clouds - clouds.min()) / np.ptp(clouds)
    y, x = np.ogrid[:height, :width]
    for _ in range(rng.integers(2, 8)):
        inside = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width)) < rng.uniform(5, 30)
        clouds[inside] = 0.3 * clouds[inside] + 0.7 * rng.random(3)
    noisy = clouds + rng.normal(0, 0.03, clouds.shape)
    return (np.round(noisy.clip(0, 1) * 255) / 255).astype(np.float32)


def inertia(colours: np.ndarray, numbers: np.ndarray) -> float:
    flat, labels = colours.reshape(-1, colours.shape[-1]).astype(float), numbers.ravel()
    return sum(((flat[labels == n] - flat[labels == n].mean(axis=0)) ** 2).sum() for n in np.unique(labels))


values = st.floats(-100, 100, width=32)


def test_pixels_go_to_the_nearest_centre_whatever_their_cell() -> None:
    pixels = picture(0, 150, 200)
    numbers = kmeans.cluster(pixels, **SHIPPED).ravel()
    flat = pixels.reshape(-1, 3).astype(np.float64)
    centres = np.stack([flat[numbers == number].mean(axis=0) for number in range(SHIPPED["clusters"])])
    distance = np.linalg.norm(flat[:, None] - centres, axis=2)
    # The fit's centres are means of cells, and so a little off the means of the pixels.
    two = np.partition(distance, 1, axis=1)
    clear = two[:, 1] - two[:, 0] > 0.01
    assert clear.mean() > 0.9
    assert np.array_equal(numbers[clear], distance.argmin(axis=1)[clear])


@given(st.data(), st.integers(1, 3), st.integers(1, 40), st.integers(1, 4), st.booleans())
def test_histogram(data: st.DataObject, channels: int, points: int, bits: int, weighted: bool) -> None:
    columns = data.draw(arrays(np.float64, (channels, points), elements=values))
    weights = data.draw(arrays(np.float64, points, elements=st.integers(1, 9))) if weighted else None
    mass = np.ones(points) if weights is None else weights
    cells: dict[tuple[int, ...], list[int]] = {}
    low, spread = columns.min(axis=1), columns.max(axis=1) - columns.min(axis=1)
    for place, colour in enumerate(columns.T):
        steps = [(c - a) * (2**bits / s) if s else 0 for c, a, s in zip(colour, low, spread, strict=True)]
        cells.setdefault(tuple(min(int(step), 2**bits - 1) for step in steps), []).append(place)
    expected = np.array(
        sorted([mass[at].sum(), *np.average(columns[:, at], axis=1, weights=mass[at])] for at in cells.values())
    )
    means, counts = kmeans._histogram(columns.T, bits, weights)
    found = np.array(sorted([count, *mean] for count, mean in zip(counts, means, strict=True)))
    assert found.shape == expected.shape
    for column in range(channels + 1):
        assert np.allclose(np.sort(found[:, column]), np.sort(expected[:, column]), atol=1e-6)


def test_an_image_of_few_colours_has_as_many_clusters() -> None:
    pixels = np.zeros((6, 7, 3), dtype=np.float32)
    assert not kmeans.cluster(pixels, **SHIPPED).any()
    pixels[:3] = (1.0, 0.5, 0.0)
    numbers = kmeans.cluster(pixels, **SHIPPED)
    assert len(np.unique(numbers)) == 2
    assert len(np.unique(numbers[:3])) == len(np.unique(numbers[3:])) == 1


@pytest.mark.parametrize("seed", range(5))
def test_inertia_is_scikit_learns(seed: int) -> None:
    from sklearn.cluster import KMeans

    pixels = picture(seed)
    full = KMeans(5, n_init=10, random_state=0).fit_predict(pixels.reshape(-1, 3))
    assert inertia(pixels, kmeans.cluster(pixels, **SHIPPED)) < 1.01 * inertia(pixels, full)


def test_grey_and_noise_keep_their_quality() -> None:
    from sklearn.cluster import KMeans

    noise = np.random.default_rng(0).random((180, 200, 3)).astype(np.float32)
    for pixels in (picture(1)[..., :1].repeat(3, axis=2), noise):
        full = KMeans(5, n_init=10, random_state=0).fit_predict(pixels.reshape(-1, 3))
        assert inertia(pixels, kmeans.cluster(pixels, **SHIPPED)) < 1.01 * inertia(pixels, full)


def test_one_seed_is_one_result() -> None:
    pixels = picture(2)
    first, again = (kmeans.cluster(pixels, **SHIPPED) for _ in range(2))
    assert np.array_equal(first, again)
    alone = SHIPPED | {"restarts": 1}
    others = [kmeans.cluster(pixels, **alone | {"seed": seed}) for seed in range(8)]
    assert any(not np.array_equal(others[0], other) for other in others[1:])


@given(st.data(), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(1, 3))
def test_any_image_is_clustered(data: st.DataObject, height: int, width: int, clusters: int, channels: int) -> None:
    pixels = data.draw(arrays(np.float32, (height, width, channels), elements=values))
    numbers = kmeans.cluster(pixels, clusters=clusters, bits=6, restarts=4, seed=0)
    assert numbers.shape == (height, width)
    assert numbers.min() >= 0
    assert numbers.max() < clusters
    colours = pixels.reshape(-1, channels)
    for colour in np.unique(colours, axis=0):
        assert len(np.unique(numbers.ravel()[(colours == colour).all(axis=1)])) == 1


def test_colours_that_are_the_same_but_for_rounding_are_no_warning() -> None:
    pixels = np.array([[[0.0], [1e-45], [1e-40]]], dtype=np.float32)
    assert kmeans.cluster(pixels, clusters=3, bits=6, restarts=2, seed=0).shape == (1, 3)
