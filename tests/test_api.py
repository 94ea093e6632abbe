"""What a notebook imports: names that load lazily, and the way from images to scores in a few lines."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segtrain as st
from segtrain.data.images.image_reader import as_tensor
from tests.conftest import Workplace
from tests.helpers.scripts import SMALL, data_of


def test_all_names_can_be_imported() -> None:
    assert sorted(st.__all__) == dir(st)
    for name in st.__all__:
        assert getattr(st, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        st.nothing  # noqa: B018


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
    with pytest.raises(st.SegtrainError, match="no such folder"):
        st.load_coco(workplace.data / "val.json", Path("nowhere"))


def test_classical_methods_are_functions_on_arrays() -> None:
    image = np.full((40, 50, 3), 30, np.uint8)
    image[10:20, 10:25] = 200
    finish = lambda mask: mask.astype(np.int64)  # noqa: E731
    labels = st.threshold.otsu(image, denoise=0.0, offset=0.0, polarity="border", finish=finish)
    assert labels.sum() == 150
    assert len(np.unique(st.kmeans.cluster(image, clusters=2, bits=5, restarts=2, seed=0))) == 2
    edges = st.edges.canny(image, sigma=1.0, low=0.5, high=1.0, close=1, polarity="border", finish=finish)
    assert edges.shape == (40, 50)


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
