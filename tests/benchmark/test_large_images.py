"""Evaluation and validation on images beyond the limit of pixels: by windows, with the numbers of whole images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segtrain as st
from segtrain import masks
from segtrain.benchmark.method_list import with_windows_where_needed
from segtrain.benchmark.methods import Method, TrainedMethod
from segtrain.benchmark.runner import Benchmark
from segtrain.data.images.large_image import LargeImage, read_or_open
from segtrain.errors import SegtrainError
from segtrain.evaluation import predict
from segtrain.metrics.strata import ks_contrast, ks_contrast_by_windows
from segtrain.report.gallery.select import select_images
from segtrain.report.sections.object_strata import find_traits
from segtrain.score_thresholds import ScoreThresholds
from segtrain.segmenters.inputs import KnownInputs
from segtrain.segmenters.tiles import TiledSegmenter, Tiling
from segtrain.training.validation import Validation, require_windows
from segtrain.training.validation_charts import Validated
from tests.data.images.test_large_image import large_split
from tests.helpers.large_data import LIMIT, write_large_data
from tests.helpers.tiny_networks import tiny

RANKING = ScoreThresholds(0.0)
THRESHOLD = st.classical("threshold_mean").segmenter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_large_data(tmp_path_factory.mktemp("large"))


def test_numbers_are_those_of_the_whole_image(folder: Path) -> None:
    """Detections, grey values, contrasts and the gallery."""
    seen = list[Any]()
    for limit in (10**6, LIMIT):
        split, _ = large_split(folder, limit)
        benchmark = Benchmark(split, max_dets=100)
        method = Method("tiled", TiledSegmenter(THRESHOLD, Tiling(100)), RANKING)
        method.detect(benchmark, lambda: None)
        assert method.detections is not None
        assert len(method.detections.masks or ()) >= 50
        benchmark.rows["tiled"] = method.result(split)
        crowded = np.zeros(len(benchmark.ground_truth.truths), np.int64)
        contrast = find_traits(benchmark.ground_truth, split, crowded)["contrast"]
        (item,) = select_images(benchmark, {"tiled": {1: 0.5}}, 1, None)
        seen.append((list(method.detections.masks or ()), benchmark.greys, contrast.bounds, item.image.tolist()))
    assert seen[0] == seen[1]


def test_rows_that_need_the_whole_image_are_left_out(folder: Path) -> None:
    split, _ = large_split(folder)
    whole = [Method(name, THRESHOLD, RANKING) for name in ("a", "b")]
    cut = Method("c", TiledSegmenter(THRESHOLD, Tiling(100)), RANKING)
    methods, notes = with_windows_where_needed([*whole, cut], split)
    assert methods == [cut]
    assert notes == [
        "a, b left out: whole images are needed, and 1 image has more pixels than data.max_image_pixels (large.tif, "
        "300x420); cut them into windows as configs/segmenter/tiled.yaml does, or read images whole with "
        "data.max_image_pixels=126000"
    ]
    with pytest.raises(SegtrainError, match=r"labels\.json: a, b left out: whole images are needed"):
        with_windows_where_needed(whole, split)
    assert with_windows_where_needed(whole, large_split(folder, 126_000)[0]) == (whole, [])
    model = replace(st.classical("threshold_mean"), segmenter=cut.segmenter)
    assert len(st.predict(model, split).masks or ()) >= 50
    with pytest.raises(SegtrainError, match="of 300x420 pixels is too large to be read whole"):
        predict(THRESHOLD, Benchmark(split, max_dets=1).images(list(split.index.images)), [], 0.0)


def network_of(tile: Any) -> Any:
    network = tiny(classes=["square"], scale=1.0, max_size=128)
    network.inputs, network.tile = KnownInputs(1.0, (100, 100), (100, 100)), tile
    return network


def test_a_network_that_does_not_cut_names_its_setting(folder: Path) -> None:
    split, _ = large_split(folder)
    method: Any = TrainedMethod.__new__(TrainedMethod)
    method.name, method._network = "net · seed 1", network_of("off")
    with pytest.raises(SegtrainError, match=r"cut them into windows with segmenters.net.tile=auto, or read"):
        with_windows_where_needed([method], split)
    method._network.tile = "auto"
    assert with_windows_where_needed([method], split) == ([method], [])
    with pytest.raises(SegtrainError, match=r"large.tif \(image 1\) is of 300x420 pixels.*set segmenter.tile=auto, or"):
        require_windows(network_of("off"), split)
    require_windows(network_of("auto"), split)


def test_validation_is_that_of_the_whole_image(folder: Path) -> None:
    found = list[Any]()

    def show(done: Validated) -> None:
        found.append(list(done.found.masks or ()))

    values = []
    for limit in (10**6, LIMIT):
        split, _ = large_split(folder, limit)
        values.append(Validation(split, 100, 0.0, show, losses=True)(network_of("auto").eval(), 1))
    assert values[0] == pytest.approx(values[1], abs=0, nan_ok=True)
    assert found[0] == found[1]
    assert len(found[0]) > 0


def test_contrast_by_windows_is_that_of_the_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtrain.metrics.strata._WINDOW", 64)
    split, reader = large_split(folder)
    (image,) = split.index.images
    large = read_or_open(reader, image)
    assert isinstance(large, LargeImage)
    rles = [truth["segmentation"] for truth in split.index.truths(1)]
    whole = read_or_open(replace(reader, max_pixels=10**6), image)
    assert isinstance(whole, np.ndarray)
    parts = ks_contrast_by_windows(lambda box: large.rgb(box)[:, :, 0], rles[5:], rles[:5])
    assert np.array_equal(parts, ks_contrast(whole[:, :, 0], rles[5:], rles[:5]))


def test_contrast_by_windows_leaves_out_neighbours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segtrain.metrics.strata._WINDOW", 64)
    split, _ = large_split(folder)
    rles = [truth["segmentation"] for truth in split.index.truths(1)]
    corners = np.minimum(masks.boxes(rles)[:, 2:].astype(int), (415, 295)).tolist()
    beside = [masks.encode_crop(np.ones((5, 5), np.uint8), x, y - 2, (300, 420)) for x, y in corners]
    grey = np.random.default_rng(0).integers(0, 256, (300, 420), np.uint8)
    parts = ks_contrast_by_windows(lambda box: grey[box[1] : box[3], box[0] : box[2]], rles, beside)
    assert np.array_equal(parts, ks_contrast(grey, rles, beside))
    assert not np.array_equal(parts, ks_contrast(grey, rles))
