"""What a notebook imports: names that load lazily, and the way from images to scores in a few lines."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from omegaconf import OmegaConf
from PIL import Image

import segtrain as st
from segtrain import masks
from segtrain.benchmark.checkpoints import EvaluatedCheckpoint
from segtrain.data.images.image_reader import as_tensor
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of


def test_all_names_can_be_imported() -> None:
    assert sorted(st.__all__) == dir(st)
    for name in st.__all__:
        assert getattr(st, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        st.nothing  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(st.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen) == st.__all__
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert getattr(importlib.import_module(node.module), alias.name) is getattr(st, alias.asname)


def test_every_public_name_has_an_example() -> None:
    public = {name: getattr(st, name) for name in st.__all__}
    for module in (st.threshold, st.edges, st.kmeans):
        functions = [function for _, function in inspect.getmembers(module, inspect.isfunction)]
        public |= {f.__qualname__: f for f in functions if f.__module__ == module.__name__ and f.__name__[0] != "_"}
    without = [name for name, thing in public.items() if not inspect.ismodule(thing) and ">>>" not in thing.__doc__]
    assert without == []


def test_importing_segtrain_loads_nothing_else() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import segtrain; seconds = time.perf_counter() - start; "
        "print(seconds, *(name for name in sys.modules if name.startswith(('segtrain.', 'torch', 'numpy'))))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(5)
    ]
    assert [loaded for _, *loaded in runs] == [[]] * 5
    assert min(float(seconds) for seconds, *_ in runs) < 0.005  # the least: other processes compute as well


def test_the_check_needs_no_torch() -> None:
    code = (
        "import sys; import segtrain.data.check.command, segtrain.data.check.run; "
        "print([name for name in ('torch', 'torchvision', 'albumentations') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_images_of_any_kind_give_the_same_instances(workplace: Workplace) -> None:
    model = st.load(workplace.run)
    assert model.class_names == ["square", "bar"]
    assert 0 <= model.score_threshold <= 1
    path = sorted((workplace.data / "val").glob("*.png"))[0]
    array = st.read_image(path)
    found = model.segment([array, as_tensor(array), Image.open(path), path, str(path)])
    for other in found[1:]:
        assert np.array_equal(found[0].scores, other.scores)
        assert found[0].rles == other.rles
    good = found[0][found[0].scores >= model.score_threshold]
    assert len(good) <= len(found[0])
    drawn = st.draw(path, good, class_names=model.class_names, scores=True)
    assert min(drawn.size) >= min(array.shape[:2])


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), np.zeros((4, 4, 3)), torch.zeros(3, 4, 4), None])
def test_what_is_no_image_is_refused(workplace: Workplace, wrong: object) -> None:
    with pytest.raises(st.SegtrainError, match="is no image: give"):
        st.load(workplace.best).segment([wrong])


def test_from_a_data_set_to_scores(workplace: Workplace) -> None:
    data = st.load_coco(workplace.data / "val.json", workplace.data / "val")
    report = st.check(data)
    assert report.errors == 0
    assert "annotations" in str(report)
    model = st.load(workplace.best)
    scores = st.score(st.predict(model, data), data)
    results = json.loads((workplace.report / "results.json").read_text())["methods"]["mask_rcnn"]
    for track in ("class_agnostic", "class_aware"):
        for key, value in scores[track].metrics.items():
            assert value == results[track][key], (track, key)


def test_data_without_images_can_be_scored_and_not_segmented(workplace: Workplace) -> None:
    data = st.load_coco(workplace.data / "val.json")
    for needs_images in (st.check, lambda d: st.predict(st.load(workplace.best), d)):
        with pytest.raises(st.SegtrainError, match="loaded without images"):
            needs_images(data)
    foreign = dataclasses.replace(st.load(workplace.best), class_names=["other"])
    with pytest.raises(st.SegtrainError, match="loaded without images"):  # without the warning of other categories
        st.predict(foreign, data)
    with pytest.raises(st.SegtrainError, match="no such folder"):
        st.load_coco(workplace.data / "val.json", Path("nowhere"))


@pytest.mark.parametrize("name", ["threshold_otsu", "edge_canny", "kmeans_lab"])
def test_a_function_with_its_defaults_is_the_row_of_the_benchmark(name: str, workplace: Workplace) -> None:
    image = st.read_image(workplace.data / "val" / "101.png")
    function = {
        "threshold_otsu": st.threshold.otsu,
        "edge_canny": st.edges.canny,
        "kmeans_lab": st.kmeans.colour_clusters,
    }[name]
    for model in (st.classical(name), st.classical(function)):
        (found,) = model.segment([image])
        assert len(found) >= 3
        assert np.array_equal(st.to_label_map(found) > 0, function(image) > 0)
        assert model.class_names == ()
        assert not model.scores_are_learned
    data = st.load_coco(workplace.data / "val.json", workplace.data / "val")
    scores = st.score(st.predict(st.classical(name), data), data)
    results = json.loads((workplace.report / "results.json").read_text())["methods"][name]
    for key, value in scores["class_agnostic"].metrics.items():
        assert value == results["class_agnostic"][key], key


def test_settings_of_a_classical_model() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    image[5:11, 5:11] = image[20:35, 20:50] = 30
    assert len(st.classical("threshold_otsu").segment([image])[0]) == 2
    assert len(st.classical("threshold_otsu", min_area=50).segment([image])[0]) == 1
    plain = st.MaskPostprocessing(watershed=False)
    bright = st.classical("threshold_otsu", denoise=0.0, polarity="bright", finish=plain)
    assert st.to_planes(bright.segment([image])[0]).sum() == (image[..., 0] == 200).sum()
    with pytest.raises(st.SegtrainError, match=r"otsu has no setting 'polarty'; did you mean polarity\?"):
        st.classical("threshold_otsu", polarty="bright")
    with pytest.raises(st.SegtrainError, match="threshold_ostu: no such classical method; did you mean threshold_otsu"):
        st.classical("threshold_ostu")
    with pytest.raises(st.SegtrainError, match="threshold_tuned: no such classical method"):
        st.classical("threshold_tuned")
    with pytest.raises(st.SegtrainError, match="threshold_mean has no settings, and so no 'denoise'"):
        st.classical("threshold_mean", denoise=1.0)


@pytest.mark.parametrize(
    ("method", "wrong", "said"),
    [
        ("kmeans", {"clusters": "x"}, r"kmeans: clusters=x: give a whole number from 1$"),
        ("kmeans", {"clusters": 0}, r"kmeans: clusters=0: give a whole number from 1$"),
        ("kmeans_lab", {"space": "hsv"}, r"kmeans_lab: space=hsv: choose rgb, lab or grey$"),
        ("threshold_otsu", {"denoise": -1.0}, r"threshold_otsu: denoise=-1.0: give a number from 0$"),
        ("threshold_otsu", {"min_area": -3}, r"threshold_otsu: min_area=-3: give a whole number from 0$"),
        (st.edges.canny, {"close": 1.5}, r"canny: close=1.5: give a whole number from 0$"),
        (partial(st.edges.canny, low=0.1), {"sigma": "x"}, r"canny: sigma=x: give a number from 0$"),
    ],
)
def test_values_that_a_setting_cannot_have_are_refused_at_once(method: Any, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(st.SegtrainError, match=said):
        st.classical(method, **wrong)


def test_numbers_of_numpy_are_settings_too() -> None:
    model = st.classical("kmeans", clusters=np.int64(3), min_area=np.int64(4))
    image = np.zeros((8, 16, 3), np.uint8)
    image[2:6, 2:6], image[2:6, 10:14] = (255, 0, 0), (0, 0, 255)
    assert len(model.segment([image])[0]) == 2


def test_the_plain_clustering_is_a_model_too() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[2:6, 2:6] = (255, 0, 0)
    assert np.array_equal(st.kmeans.cluster(image) > 0, st.kmeans.cluster(image, clusters=5) > 0)
    assert len(st.classical(st.kmeans.cluster).segment([image])[0]) >= 1


def test_a_model_is_described_in_a_line(workplace: Workplace) -> None:
    model = st.load(workplace.best)
    assert repr(model) == "<Mask R-CNN, 2 classes, score threshold 0.50>"
    assert repr(st.classical("edge_canny")) == "<edge_canny, class-agnostic>"


class TwoMasks:
    """Segmenter that finds a square, and an instance without a pixel."""

    scores_are_learned = True

    def segment(self, images: Any) -> list[st.Instances]:
        rles = [masks.encode_crop(np.full((2, 2), value), 1, 1, (6, 8)) for value in (1, 0)]
        boxes = np.array([[1, 1, 3, 3]] * 2, np.float32)
        return [st.Instances((6, 8), boxes, np.array([1, 1]), np.array([0.9, 0.8], np.float32), rles) for _ in images]


def test_instances_without_a_pixel_are_no_prediction() -> None:
    """As in the files of ``segtrain predict``."""
    model = st.Model(TwoMasks(), "two", ["cell"], 0.5)
    image = np.zeros((6, 8, 3), np.uint8)
    assert len(model.segment([image])[0]) == 2
    assert model.predict(image)[0].scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("one", ["cells.png", Path("cells.png"), np.zeros((4, 5, 3), np.uint8), torch.zeros(3, 4, 5)])
def test_one_image_is_no_list_of_images(one: Any) -> None:
    with pytest.raises(st.SegtrainError, match=r"takes a list of images; write segment\(\[image\]\)"):
        st.classical("threshold_otsu").segment(one)


def test_overrides_are_a_list() -> None:
    with pytest.raises(st.SegtrainError, match=r"train takes a list of overrides; write train\(\['seed=1'\]\)"):
        st.train("seed=1")
    with pytest.raises(st.SegtrainError, match="evaluate takes a list"):
        st.evaluate("seed=1")


def test_messages_name_no_keys_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(st.SegtrainError, match=r"nothing\.png: .*; replace the file") as missing:
        st.read_image(tmp_path / "nothing.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "large.png")
    with pytest.raises(st.SegtrainError, match=r"2000 pixels, more than the limit of 1999; raise max_pixels") as large:
        st.read_image(tmp_path / "large.png", max_pixels=1999)
    two = np.zeros((5, 6, 2), np.uint8)
    tifffile.imwrite(tmp_path / "two.tif", two, photometric="minisblack", planarconfig="contig")
    with pytest.raises(st.SegtrainError, match=r"2 channels, .*; give channels=\(a, b, c\)") as channels:
        st.classical("threshold_otsu").predict(tmp_path / "two.tif")
    tifffile.imwrite(tmp_path / "pages.tif", np.arange(60, dtype=np.uint8).reshape(2, 5, 6), photometric="minisblack")
    with pytest.raises(st.SegtrainError, match=r"2 pages that differ.*; give pages") as pages:
        st.read_image(tmp_path / "pages.tif")
    for error in (missing, large, channels, pages):
        assert "data." not in str(error.value)


def test_data_that_cannot_be_used_are_refused_in_words_of_the_function(workplace: Workplace, tmp_path: Path) -> None:
    records = json.loads((workplace.data / "val.json").read_text())
    records["annotations"][0]["segmentation"] = [[1, 2]]
    (tmp_path / "val.json").write_text(json.dumps(records))
    with pytest.raises(st.SegtrainError, match=r'annotation 1: a polygon .*\. check="warn" goes on') as broken:
        st.load_coco(tmp_path / "val.json")
    assert "data." not in str(broken.value).replace("segtrain.data.check", "")
    assert st.load_coco(tmp_path / "val.json", check="warn").index.counts.dropped == 1
    for wrong in ({"check": "wran"}, {"exif": "wran"}):
        with pytest.raises(st.SegtrainError, match="'wran' is no choice of load_coco; use "):
            st.load_coco(tmp_path / "val.json", **wrong)


def test_what_a_notebook_shows_is_short(workplace: Workplace) -> None:
    data = st.load_coco(workplace.data / "val.json", workplace.data / "val")
    assert repr(data) == f"<{workplace.data / 'val.json'}: 5 images, 12 annotations of square, bar>"
    detections = st.predict(st.classical("threshold_mean"), data)
    assert repr(detections) == f"<Detections: {len(detections.masks)} masks, score threshold 0.00>"
    shown = repr(st.score(detections, data))
    assert re.match(r"{'class_agnostic': <TrackScores: mask_ap \d\.\d{3}, .*>, 'class_aware': None}", shown)
    assert len(shown) < 400


def test_drawing_what_does_not_fit_is_refused() -> None:
    image = np.full((40, 60, 3), 30, np.uint8)
    image[10:20, 10:25] = 200
    (found,) = st.classical("threshold_otsu").segment([image])
    with pytest.raises(st.SegtrainError, match="an image of 40 x 60 pixels, and this one has 60 x 40"):
        st.draw(image.transpose(1, 0, 2), found)
    labelled = dataclasses.replace(found, labels=np.array([2]))
    with pytest.raises(st.SegtrainError, match="label 2 has no name among the 1 given"):
        st.draw(image, labelled, class_names=["cell"])
    with pytest.raises(st.SegtrainError, match="label 2 has no category among the 1 given"):
        st.to_predictions(labelled, 1, [st.Category(1, "cell")])


def test_data_of_other_categories_are_noticed(workplace: Workplace, tmp_path: Path) -> None:
    records = json.loads((workplace.data / "val.json").read_text())
    for category in records["categories"]:
        category["name"] = f"other {category['name']}"
    (tmp_path / "val.json").write_text(json.dumps(records))
    data = st.load_coco(tmp_path / "val.json", workplace.data / "val")
    with pytest.warns(UserWarning, match="finds square, bar, and the data have other square, other bar"):
        found = st.predict(st.load(workplace.best), data)
    assert st.score(found, data)["class_aware"] is None


def test_runs_without_a_shell(workplace: Workplace, tmp_path: Path) -> None:
    overrides = [*data_of(workplace.data), *SMALL, f"output_dir={tmp_path / 'run'}"]
    finished = st.train(overrides)
    assert finished.folder == tmp_path / "run"
    assert st.load(finished.folder).class_names == ["square", "bar"]
    evaluated = st.evaluate(
        [
            f"checkpoint={tmp_path / 'run/checkpoints/best.pt'}",
            f"output_dir={tmp_path / 'report'}",
            "methods=mask_rcnn",
            "bootstrap.resamples=0",
        ]
    )
    assert (evaluated.folder / "report.html").is_file()
    assert list(evaluated.result.results.methods) == ["mask_rcnn"]
    with pytest.raises(st.SegtrainError, match=r"optimizer\.rl=1: no such key"):
        st.train(["optimizer.rl=1"])
    with pytest.raises(st.SegtrainError, match="already holds"):
        st.train(overrides)


def test_defaults_are_those_of_the_yaml_files() -> None:
    configs = Path(__file__).parents[1] / "configs"
    data = OmegaConf.load(configs / "data" / "coco.yaml")
    for function in (st.check, st.score):
        assert inspect.signature(function).parameters["max_dets"].default == data.max_dets
    rows = [OmegaConf.load(path) for path in (configs / "segmenter").glob("*.yaml")]
    assert {row.min_area for row in rows if "min_area" in row} == {st.classical(st.threshold.mean).segmenter.min_area}
    textbook = dict(OmegaConf.load(configs / "segmenter" / "kmeans.yaml").method)
    for name, value in inspect.signature(st.kmeans.cluster).parameters.items():
        assert name == "pixels" or value.default == textbook[name], name
    assert EvaluatedCheckpoint(None, None).seed == OmegaConf.load(configs / "train.yaml").seed


def test_result_files_of_other_tools(workplace: Workplace, tmp_path: Path) -> None:
    data = st.load_coco(workplace.data / "val.json", workplace.data / "val")
    found = st.predict(st.classical("threshold_otsu"), data)
    assert found.masks is not None
    name_of = {image.id: image.file_name for image in data.index.images}
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps([{**record, "image_id": record["image_id"] - 1} for record in found.masks]))
    with pytest.raises(st.SegtrainError, match="image_id_offset: 1"):
        st.load_results(path, data)
    again = st.load_results(path, data, image_id_offset=1)
    assert again.masks == found.masks
    path.write_text(json.dumps([{**record, "image_id": name_of[record["image_id"]]} for record in found.masks]))
    with pytest.warns(UserWarning, match="image ids are matched as file names"):
        again = st.load_results(path, data)
    kept = st.score(found, data)["class_agnostic"]
    scores = st.score(again, data)["class_agnostic"]
    assert kept is not None
    assert scores is not None
    assert scores.metrics["mask_ap"] == kept.metrics["mask_ap"] > 0
    with pytest.raises(st.SegtrainError, match="'stem' is no choice of load_results"):
        st.load_results(path, data, images_by="stem")  # type: ignore[arg-type]
