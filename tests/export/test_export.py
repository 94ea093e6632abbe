"""Exported networks: what they find, and what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segtrain import masks
from segtrain.cli.main import main
from segtrain.errors import SegtrainError
from segtrain.export import agreement, export_files, onnx_file
from segtrain.export.agreement import Differences, Found, compare
from segtrain.export.export_files import export_network
from segtrain.export.facts import FACTORY
from segtrain.export.onnx_example import main as example_main
from segtrain.export.onnx_example import mask_shift, paste
from segtrain.segmenters.mask_rcnn.backbones import BACKBONES, Backbone
from segtrain.segmenters.mask_rcnn.mask_geometry import MaskGeometry
from segtrain.segmenters.mask_rcnn.mask_paste import paste_masks
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from segtrain.segmenters.mask_rcnn.stock_network import traceable_network
from segtrain.segmenters.mask_rcnn.weights import read_weights
from tests.helpers.lively_networks import COUNTS, SMALL_INPUT, WIDTHS, lively_state
from tests.helpers.tiny_networks import CLASSES, picture, settings, stock, tiny
from tests.helpers.tiny_runs import checkpoint

PICTURES = [picture(0, 96, 120, 5)[0], picture(1, 110, 100, 0)[0], picture(2, 90, 96, 3)[0]]
FEW = COUNTS | {"rpn_candidates_test": 200, "rpn_proposals_test": 100, "detections_per_image": 40}
FIXED = {"scale": 1.5, "min_size": None, "max_size": 170}
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


def lively(**chosen: Any) -> MaskRCNN:
    """Build a network that finds much."""
    state = lively_state(stock(classes=CLASSES, **chosen | {"norm": "batch"}), PICTURES[:1], seed=0)
    ours = tiny(classes=CLASSES, **chosen)
    ours.load_state_dict(state)
    return ours


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes the checkpoint of a network, and pictures beside it."""

    def write(architecture: str = "mobilenet_v2_fpn", **changes: Any) -> Path:
        widths = {} if architecture.startswith("resnet50") else WIDTHS
        chosen = settings(architecture, **(SMALL_INPUT | FEW | widths | changes))
        ours = lively(**chosen)
        node = {"_target_": FACTORY, "_partial_": True, **chosen}
        config, own = {"segmenter": node, "data": {}}, {CLASSES[0]: 0.35}
        saved = checkpoint(
            config=config, model=dict(ours.state_dict()), score_threshold=0.3, category_thresholds=own, max_dets=40
        )
        saved.save(tmp_path / "best.pt")
        for number, image in enumerate(PICTURES):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
        return tmp_path / "best.pt"

    return write


def run(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


@pytest.mark.parametrize(
    ("architecture", "size", "aligned"),
    [
        ("mobilenet_v2_fpn", FIXED, True),
        pytest.param("resnet18_fpn", {}, False, marks=pytest.mark.slow),
        pytest.param("mobilenet_v2_fpn", FIXED, False, marks=pytest.mark.slow),
        pytest.param("resnet18_fpn", {}, True, marks=pytest.mark.slow),
        pytest.param("resnet50_fpn", {}, False, marks=pytest.mark.slow),
        pytest.param("resnet50_fpn", {}, True, marks=pytest.mark.slow),
        pytest.param("resnet50_fpn_v2", FIXED, False, marks=pytest.mark.slow),
        pytest.param("resnet50_fpn_v2", FIXED, True, marks=pytest.mark.slow),
    ],
)
def test_torchvision_finds_the_same(write: Write, architecture: str, size: dict[str, Any], aligned: bool) -> None:
    """In each picture, by the written file alone, to which the command compares itself too."""
    path = write(architecture, aligned=aligned, mask_scoring="mean_confidence", **size)
    pictures = [path.with_name(f"{number}.png") for number in range(3)]
    done = export_network(path, path.with_name("out"), to="torchvision", images=pictures)
    code = done.files[1].read_text()
    assert ("AlignedRoIAlign" in code) == aligned
    assert ("FixedScale" in code) == bool(size)
    assert "segtrain." not in code
    assert any("largest differences" in note for note in done.notes), done.notes
    content = torch.load(done.files[0], weights_only=True)
    assert (content["class_names"], content["score_threshold"]) == (CLASSES, 0.3)
    assert content["score_thresholds"] == [0.35, *[0.3] * (len(CLASSES) - 1)]
    assert read_weights(str(done.files[0]), architecture).aligned == aligned


@pytest.mark.parametrize(("aligned", "size"), [(True, FIXED), pytest.param(False, {}, marks=pytest.mark.slow)])
def test_the_traceable_network_finds_the_same(aligned: bool, size: dict[str, Any]) -> None:
    chosen = settings(**(SMALL_INPUT | FEW | WIDTHS | size | {"mask_scoring": "mean_confidence", "aligned": aligned}))
    ours = lively(**chosen)
    network = traceable_network(chosen, len(CLASSES) + 1, ours.state_dict())
    for image in [*PICTURES[1:], torch.zeros(3, 20, 30, dtype=torch.uint8)]:
        found = ours.segment([image])[0]
        with torch.inference_mode():
            boxes, labels, scores, cells = (part.numpy() for part in network(image.permute(1, 2, 0)))
        shift = MaskGeometry(ours.input_size, "exact", aligned).shift(found.size, ours.input_size.resized(*found.size))
        planes = [paste(mask, box, found.size, shift) for mask, box in zip(cells, boxes, strict=True)]
        differences = compare(found, Found(boxes, labels, scores, planes))
        assert differences.objects > 20
        assert differences.box < 1e-3
        assert differences.score < 1e-4
        assert not differences.large


@given(st.integers(0, 10**6), st.tuples(*[st.floats(-6, 20)] * 2, *[st.floats(0.1, 25)] * 2))
def test_the_example_pastes_as_we_do(seed: int, place: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.random((28, 28), np.float32).round(3)
    x, y, width, height = place
    box, shift = np.array([x, y, x + width, y + height], np.float32), (0.25, 0.4)
    found = paste(cells, box, (14, 17), shift)
    expected = paste_masks(torch.from_numpy(cells)[None], torch.from_numpy(box)[None], (14, 17), shift)
    assert np.array_equal(found, masks.decode(expected[0]).astype(bool))


@pytest.mark.parametrize("size", [InputSize(None, 400, 1.5), InputSize(96, 120, None)])
def test_the_example_knows_the_shift(size: InputSize) -> None:
    geometry = MaskGeometry(size, "exact", aligned=False)
    given = {"min_size": size.min_size, "max_size": size.max_size, "scale": size.scale}
    assert mask_shift({"input": given, "mask_shift": geometry.learned_shift}, (90, 410)) == geometry.shift(
        (90, 410), size.resized(90, 410)
    )


@pytest.mark.parametrize("backbone", [name for name, entry in BACKBONES.items() if isinstance(entry, Backbone)])
def test_the_code_of_a_backbone_builds_it(backbone: str) -> None:
    import torchvision

    entry = BACKBONES[backbone]
    assert isinstance(entry, Backbone)
    assert entry.code
    assert eval(entry.code, {"torchvision": torchvision}).state_dict().keys() == entry.body().state_dict().keys()


def test_large_differences_are_refused_and_nothing_is_written(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write()
    detector = export_files.torchvision_detector

    def moved(*arguments: Any) -> Callable[[Any], Found]:
        detect = detector(*arguments)

        def answer(image: Any) -> Found:
            found = detect(image)
            return Found(found.boxes, found.labels, found.scores - 0.02, found.planes)

        return answer

    monkeypatch.setattr(export_files, "torchvision_detector", moved)
    monkeypatch.setattr(agreement, "_is_undecided", lambda *_: False)
    assert run(path, path.with_name("out"), "--to", "torchvision", "--image", path.with_name("0.png")) == 1
    error = capsys.readouterr().err
    assert "differs from the original one on 0.png" in error
    assert "0.02 of a score" in error
    assert not path.with_name("out").exists()


def test_differences_of_any_kind_count() -> None:
    assert Differences(3, 1).large
    assert Differences(3, 0, box=1.0).large
    assert Differences(3, 0, score=0.1).large
    assert Differences(3, 0, mask=0.1).large
    assert not Differences(3, 0, 1e-3, 1e-3, 1e-3).large


def test_mistakes_are_one_line(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, out = write(), tmp_path / "net.pt"
    (tmp_path / "net.py").write_text("mine")
    assert run(path, out, "--to", "torchvision") == 1
    assert "net.py: exists already" in capsys.readouterr().err
    assert (tmp_path / "net.py").read_text() == "mine"
    assert run(path, out, "--to", "torchvision", "--overwrite", "--max-dets", 7) == 0
    said = capsys.readouterr().out
    assert "give others with --image" in said
    assert "box_detections_per_img=7" in (tmp_path / "net.py").read_text()
    assert run("threshold_otsu", "x.onnx", "--to", "onnx") == 1
    assert "segtrain predict threshold_otsu IMAGES" in capsys.readouterr().err
    assert run(path, out, "--to", "onnx") == 1
    assert "--to onnx writes .onnx" in capsys.readouterr().err
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert run(path, tmp_path / "other.onnx", "--to", "onnx") == 1
    assert "needs onnxruntime: pip install 'segtrain[export]'" in capsys.readouterr().err
    with pytest.raises(SegtrainError, match="'tflite' is no target"):
        export_network(path, out, to="tflite")  # type: ignore[arg-type]


def test_the_example_says_how_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["net.py"])
    with pytest.raises(SystemExit, match=r"usage: python \w+\.py IMAGE"):
        example_main()


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [False, True])
def test_onnx_finds_the_same_without_torch(write: Write, aligned: bool, tmp_path: Path) -> None:
    path = write(aligned=aligned, mask_scoring="mean_confidence", **(FIXED if aligned else {}))
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    done = export_network(path, tmp_path / "net.onnx", to="onnx", images=pictures)
    assert any("largest differences" in note for note in done.notes), done.notes
    np.save(tmp_path / "image.npy", PICTURES[0].permute(1, 2, 0).numpy())
    alone = "import sys, runpy\nfor name in ('torch', 'torchvision', 'segtrain', 'PIL'): sys.modules[name] = None\n"
    alone += f"sys.argv = ['net.py', 'image.npy']\nrunpy.run_path({str(tmp_path / 'net.py')!r}, run_name='__main__')"
    finished = subprocess.run([sys.executable, "-c", alone], cwd=tmp_path, capture_output=True, text=True, check=True)
    numbers = np.load(tmp_path / "image.npy.labels.npy")
    assert len(finished.stdout.splitlines()) >= numbers.max() > 5
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == CLASSES
    for size in ((20, 24), (333, 50), (2, 300)):
        boxes, *_ = session.run(None, {"image": np.zeros((*size, 3), np.uint8)})
        assert boxes.shape[1] == 4


@pytest.mark.slow
def test_torch_export_finds_the_same(write: Write, tmp_path: Path) -> None:
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    done = export_network(write(aligned=True), tmp_path / "net.pt2", to="torch_export", images=pictures)
    assert any("largest differences" in note for note in done.notes), done.notes
