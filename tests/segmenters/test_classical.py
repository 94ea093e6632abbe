"""Each classical method against its definition, pixel by pixel where the definition is one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from segtrain.errors import SegtrainError
from segtrain.segmenters.classical import edges, kmeans, threshold
from segtrain.segmenters.classical.postprocess import MaskPostprocessing
from segtrain.segmenters.classical.regions import components, luminance
from segtrain.segmenters.classical.segmenter import LabelMapSegmenter

CLUSTERING = {"bits": 5, "restarts": 10, "seed": 0}


def random_rgb(seed: int, height: int = 12, width: int = 15) -> np.ndarray:
    """Noise in blocks, so that it has areas."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3)).repeat(3, axis=0).repeat(3, axis=1)
    return (blocks[:height, :width] / np.float32(255)).astype(np.float32)


def grey_rgb(grey: np.ndarray) -> np.ndarray:
    return np.asarray(grey, dtype=np.float32)[..., None].repeat(3, axis=2)


def finish(**changes: Any) -> MaskPostprocessing:
    """The watershed of the robust rows, and nothing else."""
    settings = {"closing": 0, "fill": False, "opening": 0, "watershed": True, "smoothing": 2.0, "min_distance": 7}
    return MaskPostprocessing(**{**settings, "grow": 0, **changes})


def neighbours(grey: np.ndarray, y: int, x: int) -> np.ndarray:
    """The 3x3 surroundings; the border pixel is repeated outside."""
    return np.pad(grey, 1, mode="edge")[y : y + 3, x : x + 3]


@pytest.mark.parametrize("seed", range(4))
def test_threshold_mean(seed: int) -> None:
    rgb = random_rgb(seed)
    grey = luminance(rgb)
    above = np.array([[pixel > grey.mean(dtype=float) for pixel in row] for row in grey])
    assert np.array_equal(threshold.mean(rgb), components(above))


@pytest.mark.parametrize("seed", range(4))
def test_threshold_multi(seed: int) -> None:
    rgb = random_rgb(seed)
    grey = luminance(rgb)
    levels = np.zeros(grey.shape, dtype=int)
    for place in np.ndindex(grey.shape):
        if grey[place] > grey.mean(dtype=float):
            levels[place] = 3
        elif grey[place] > 0.5:
            levels[place] = 2
        elif grey[place] > 0.25:
            levels[place] = 1
    assert np.array_equal(threshold.multi(rgb, low=0.25, high=0.5), components(levels))


def test_threshold_multi_splits_by_level() -> None:
    # Mean .66: the bright half is level 3, .6 is level 2 and .3 level 1, side by side.
    labels = threshold.multi(grey_rgb([[0.9, 0.9, 0.9, 0.6, 0.3, 0.1]]), low=0.25, high=0.5)
    assert labels.tolist() == [[1, 1, 1, 2, 3, 0]]


def test_a_constant_image_is_not_above_its_own_mean() -> None:
    for value in range(1, 256):
        rgb = np.full((7, 11, 3), value, np.float32) / np.float32(255)
        assert not threshold.mean(rgb).any()
        assert not edges.sobel(rgb).any()
        assert not edges.laplace(rgb).any()


@pytest.mark.parametrize("seed", range(4))
def test_edge_sobel(seed: int) -> None:
    rgb = random_rgb(seed, 20, 24)
    grey = luminance(rgb).astype(float)
    slope = np.array([1, 2, 1])
    magnitude = np.zeros(grey.shape)
    for y, x in np.ndindex(grey.shape):
        near = neighbours(grey, y, x)
        across, down = (near[:, 2] - near[:, 0]) @ slope, (near[2] - near[0]) @ slope
        magnitude[y, x] = np.hypot(across, down)
    assert np.array_equal(edges.sobel(rgb), edges.enclosed(magnitude > magnitude.mean()))


@pytest.mark.parametrize("seed", range(4))
def test_edge_laplace(seed: int) -> None:
    rgb = random_rgb(seed, 20, 24)
    grey = luminance(rgb).astype(float)
    magnitude = np.zeros(grey.shape)
    for y, x in np.ndindex(grey.shape):
        magnitude[y, x] = abs(neighbours(grey, y, x).sum() - 9 * grey[y, x])
    assert np.array_equal(edges.laplace(rgb), edges.enclosed(magnitude > magnitude.mean()))


def test_enclosed_areas_are_closed_and_without_their_edge() -> None:
    edge = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 0, 0, 1, 1],
            [0, 1, 0, 1, 0, 1, 0, 0],
            [0, 1, 1, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
        dtype=bool,
    )
    # The first is closed by a diagonal step; the second is open to the image's border.
    expected = np.zeros(edge.shape, dtype=int)
    expected[2, 2] = 1
    assert np.array_equal(edges.enclosed(edge), expected)


def test_sobel_and_laplace_find_the_inside_of_a_square() -> None:
    grey = np.zeros((30, 30))
    grey[8:22, 8:22] = 1
    for method in (edges.sobel, edges.laplace):
        labels = method(grey_rgb(grey))
        assert labels.max() == 1
        assert labels[9:21, 9:21].all()
        assert not labels[grey == 0].any()


@pytest.mark.parametrize("close", [0, 1, 2])
def test_canny_finds_squares_inside_and_at_the_border(close: int) -> None:
    grey = np.zeros((60, 60))
    grey[20:40, 22:42] = 1
    grey[0:14, 40:60] = 1
    settings = {"sigma": 1.0, "low": 0.4, "high": 0.8, "polarity": "border", "finish": finish()}
    labels = edges.canny(grey_rgb(grey), close=close, **settings)
    assert labels.max() == 2
    assert (labels > 0).sum() == pytest.approx(grey.sum(), rel=0.2)


def test_local_threshold_follows_uneven_light() -> None:
    y, x = np.mgrid[:96, :96]
    cells = ((y % 32 - 16) ** 2 + (x % 32 - 16) ** 2) < 64
    bright = x / 96 * 0.6 + 0.2 * cells
    settings = {"denoise": 1.0, "window": 16.0, "offset": 0.03, "polarity": "border", "finish": finish(fill=True)}
    for grey in (bright, 1 - bright):
        labels = components(threshold.local(grey_rgb(grey), **settings))
        assert [(labels == labels[j, i]).sum() > 100 for j in (16, 48, 80) for i in (16, 48, 80) if labels[j, i]] == [
            True
        ] * 9
        assert ((labels > 0) == cells).mean() > 0.93


def test_kmeans_takes_every_cluster_but_the_border_s() -> None:
    colours = np.array([[0.1, 0.1, 0.1], [0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.9, 0.1]])
    plan = np.zeros((20, 30), dtype=int)
    plan[3:8, 3:8], plan[3:8, 8:14], plan[10:18, 3:9], plan[10:18, 20:30] = 1, 2, 3, 4
    labels = kmeans.rgb_clusters(colours[plan].astype(np.float32), clusters=5, **CLUSTERING)
    assert np.array_equal(labels, components(plan))


@pytest.mark.parametrize("seed", range(3))
def test_kmeans_is_as_good_as_on_all_pixels(seed: int) -> None:
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    pixels = rng.normal(rng.random((5, 3))[rng.integers(0, 5, (40, 50))], 0.05).clip(0, 1).astype(np.float32)
    numbers = kmeans.cluster(pixels, clusters=5, **CLUSTERING).ravel()
    flat = pixels.reshape(-1, 3).astype(float)
    inertia = sum(((flat[numbers == n] - flat[numbers == n].mean(axis=0)) ** 2).sum() for n in np.unique(numbers))
    full = KMeans(5, n_init=10, random_state=0).fit(flat).inertia_
    assert inertia < 1.02 * full


def test_kmeans_assigns_every_pixel_to_its_nearest_centre() -> None:
    pixels = np.random.default_rng(0).random((30, 30, 3)).astype(np.float32)
    numbers = kmeans.cluster(pixels, clusters=4, **CLUSTERING)
    means = np.array([pixels[numbers == n].mean(axis=0) for n in range(4)])
    distance = np.linalg.norm(pixels[:, :, None] - means, axis=3)
    # Lloyd's fixed point, up to the histogram's cells.
    assert (distance.argmin(axis=2) == numbers).mean() > 0.97


@pytest.mark.parametrize("distinct", [1, 2, 3, 4])
def test_kmeans_with_fewer_colours_than_clusters(distinct: int) -> None:
    plan = np.arange(distinct * 12).reshape(distinct, 12) // 12
    pixels = grey_rgb(plan / 4)
    numbers = kmeans.cluster(pixels, clusters=5, **CLUSTERING)
    assert len(np.unique(numbers)) == distinct
    assert all(len(np.unique(numbers[plan == row])) == 1 for row in range(distinct))


def test_faint_images_keep_their_colours_apart() -> None:
    # Four of 255 levels: a histogram over the whole range would see one colour.
    pixels = grey_rgb(np.array([[0, 1, 2, 3]] * 4) / 255)
    assert len(np.unique(kmeans.cluster(pixels, clusters=4, **CLUSTERING))) == 4


def test_classical_sorts_by_score_and_drops_small_regions() -> None:
    labels = np.zeros((10, 20), dtype=np.int64)
    labels[1:5, 1:5], labels[1:5, 8:12], labels[7, 7] = 4, 2, 9
    image = torch.full((3, 10, 20), 50, dtype=torch.uint8)
    image[:, 1:5, 1:5], image[:, 1:5, 8:12] = 100, 250
    segmenter = LabelMapSegmenter(lambda rgb: labels, min_area=2, description="", technique=None, variant=None)
    (found,) = segmenter.segment([image])
    assert found.boxes.tolist() == [[8, 1, 12, 5], [1, 1, 5, 5]]
    assert found.scores == pytest.approx([1, 0.25])


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(SegtrainError, match="variant 'literal' is unknown; use textbook, robust, tuned or null"):
        LabelMapSegmenter(threshold.mean, min_area=16, description="", technique=None, variant="literal")


METHODS = [
    threshold.mean, threshold.multi, threshold.otsu, threshold.local, edges.sobel, edges.laplace, edges.canny,
    kmeans.rgb_clusters, kmeans.colour_clusters,
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_an_image_means_the_same_in_every_type(method: Callable[..., np.ndarray]) -> None:
    image = np.rint(255 * random_rgb(3, 30, 40)).astype(np.uint8)
    labels = method(image)
    assert labels.shape == (30, 40)
    for same in (image.astype(np.float32) / np.float32(255), image / 255):
        assert np.array_equal(method(same), labels)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5)), r"shape \(4, 5\) is not RGB"),
        (np.zeros((4, 5, 4), np.uint8), r"shape \(4, 5, 4\) is not RGB"),
        (np.zeros((4, 5, 3), np.uint16), "type uint16 has no known range; give uint8, or float"),
        (np.full((4, 5, 3), 200.0), r"must lie in \[0, 1\], not in \[200, 200\]"),
        (np.full((4, 5, 3), np.nan), r"must lie in \[0, 1\]"),
    ],
)
def test_what_is_no_rgb_image_is_refused(method: Callable[..., np.ndarray], image: np.ndarray, message: str) -> None:
    with pytest.raises(SegtrainError, match=message):
        method(image)


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(SegtrainError, match="polarity 'light' is unknown; use border, bright, dark"):
        threshold.otsu(random_rgb(0), polarity="light")
    with pytest.raises(SegtrainError, match="space 'hsv' is unknown; use rgb, lab, grey"):
        kmeans.colour_clusters(random_rgb(0), space="hsv")
