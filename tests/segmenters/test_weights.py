"""Weights of every origin: what is taken over, what is not, and what is refused."""

import contextlib
import io
import os
import pickle
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights
from torchvision.ops import FrozenBatchNorm2d

from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.mask_rcnn.weights import LoadReport, load_weights
from segtrain.segmenters.state_file import read_state
from tests.helpers.tiny_networks import CLASSES, tiny

COCO = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """An empty cache of downloads."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    yield cache
    torch.hub.set_dir(before)


def save(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


def randomise(state: dict[str, Tensor], seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(v.shape, generator=generator) if v.is_floating_point() else v for n, v in state.items()}


def load(weights: str, architecture: str = "mobilenet_v2_fpn", **changes: Any) -> tuple[MaskRCNN, LoadReport]:
    classes = changes.pop("classes", CLASSES)
    model = tiny(architecture, classes, **changes)
    return model, load_weights(model, weights, architecture, classes)


def test_published_weights_keep_the_rows_of_known_categories(hub: Path) -> None:
    theirs = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    state = randomise(theirs.state_dict())
    save(hub / Path(COCO.url).name, state)
    classes = ["person", "cell", "dog"]
    fresh = tiny("resnet50_fpn", classes).state_dict()
    model, report = load("COCO_V1", "resnet50_fpn", classes=classes)
    own = model.state_dict()
    coco = COCO.meta["categories"]
    sources = {0: 0, 1: coco.index("person"), 3: coco.index("dog")}  # our row -> theirs
    class_layers = ("cls_score", "bbox_pred", "mask_fcn_logits")
    for name, value in own.items():
        if not name.startswith("roi_heads") or not any(layer in name for layer in class_layers):
            assert torch.equal(value, state[name]), name
            continue
        rows = len(value) // 4
        for label in range(4):
            mine = value[label * rows : (label + 1) * rows]
            if label in sources:
                assert torch.equal(mine, state[name][sources[label] * rows : (sources[label] + 1) * rows]), name
            else:
                assert torch.equal(mine, fresh[name][label * rows : (label + 1) * rows]), name
    assert report.kept_classes == ["background", "person", "dog"]
    assert report.reinitialised == ["rows of cell"]
    assert report.unused == []
    assert "rows kept for background, person, dog; re-initialised: rows of cell" in report.describe()


def epsilons(model: MaskRCNN) -> set[float]:
    return {module.eps for module in model.modules() if isinstance(module, FrozenBatchNorm2d)}


@pytest.mark.parametrize(
    ("weights", "epsilon"), [("COCO_V1", 0.0), (f"/far/{Path(COCO.url).name}", 0.0), ("IMAGENET1K_V1", 1e-5)]
)
def test_the_published_coco_weights_bring_their_epsilon(weights: str, epsilon: float) -> None:
    """As in torchvision's builder; by name or as the very file."""
    assert epsilons(tiny("resnet50_fpn", weights=weights, initialise=False)) == {epsilon}


def test_a_backbone_alone_with_its_classifier(tmp_path: Path) -> None:
    state = randomise(torchvision.models.resnet18(weights=None).state_dict())
    model, report = load(save(tmp_path / "resnet.pth", state), "resnet18_fpn")
    for name, value in model.backbone.body.state_dict().items():
        assert torch.equal(value, state[name])
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    heads = {name for name in model.state_dict() if not name.startswith("backbone.body.")}
    assert set(report.reinitialised) == heads
    assert all(name.startswith("backbone.body.") for name in report.loaded)


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_a_mobilenet_with_and_without_its_classifier(tmp_path: Path, norm: str) -> None:
    whole = randomise(torchvision.models.mobilenet_v2(weights=None).state_dict())
    features = {name: value for name, value in whole.items() if name.startswith("features.")}
    for number, state in enumerate((whole, features)):
        model, report = load(save(tmp_path / f"{number}.pth", state), norm=norm)
        for name, value in model.backbone.body.state_dict().items():
            assert torch.equal(value, state[f"features.{name}"])
        assert [n for n in report.unused if not n.startswith("classifier.")] == []


@pytest.mark.slow
def test_auto_is_aligned_unless_the_heads_have_learned_otherwise(hub: Path, tmp_path: Path) -> None:
    stock = torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91)
    save(hub / Path(COCO.url).name, stock.state_dict())
    whole, backbone = tiny().state_dict(), torchvision.models.mobilenet_v2(weights=None).state_dict()
    checkpoints = {
        str(aligned): {"model": whole, "config": {"segmenter": {"aligned": aligned}}} for aligned in (True, False)
    }
    contents = {"whole": whole, "backbone": backbone, **checkpoints, "odd": {"model": whole, "config": None}}
    expected = {"whole": False, "backbone": True, "True": True, "False": False, "odd": False}
    for name, content in contents.items():
        path = save(tmp_path / f"{name}.pt", content)
        assert tiny(weights=path, aligned="auto").aligned is expected[name], name
        assert tiny(weights=path, aligned=not expected[name]).aligned is not expected[name], name
    assert tiny(aligned="auto").aligned
    assert not tiny("resnet50_fpn", weights="COCO_V1", aligned="auto").aligned


def test_a_published_backbone(hub: Path) -> None:
    member = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    state = randomise(torchvision.models.resnet18(weights=None).state_dict())
    save(hub / Path(member.url).name, state)
    model, _ = load("IMAGENET1K_V1", "resnet18_fpn")
    assert torch.equal(model.backbone.body.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize("wrap", [lambda s: {"model": s, "epoch": 3}, lambda s: {"state_dict": s}, lambda s: s])
def test_torchvisions_training_files_and_plain_ones(tmp_path: Path, wrap: Any) -> None:
    state = randomise(tiny().state_dict())
    parallel = {f"module.{name}": value for name, value in state.items()}
    for number, content in enumerate((state, parallel)):
        model, report = load(save(tmp_path / f"{number}.pth", wrap(content)))
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert report.reinitialised == report.unused == report.kept_classes == []


def test_our_own_checkpoint_with_other_classes(tmp_path: Path) -> None:
    state = randomise(tiny(classes=["square", "star", "round"]).state_dict())
    content = {"model": state, "class_names": ["square", "star", "round"]}
    model, report = load(save(tmp_path / "best.pt", content))
    own = model.roi_heads.box_predictor.bbox_pred.weight
    theirs = state["roi_heads.box_predictor.bbox_pred.weight"]
    assert torch.equal(own, torch.cat([theirs[:4], theirs[12:16], theirs[4:8]]))
    assert report.reinitialised == []


def test_a_file_without_names_keeps_as_many_classes_or_none(tmp_path: Path) -> None:
    state = randomise(tiny(classes=["a", "b", "c"]).state_dict())
    path = save(tmp_path / "w.pth", state)
    model, report = load(path, classes=["x", "y", "z"])
    assert torch.equal(model.roi_heads.box_predictor.cls_score.bias, state["roi_heads.box_predictor.cls_score.bias"])
    model, report = load(path)
    assert report.reinitialised == ["rows of round", "rows of square"]
    assert report.kept_classes == []
    assert torch.equal(model.state_dict()["backbone.body.0.0.weight"], state["backbone.body.0.0.weight"])


def test_what_was_loaded_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "net.pth", torchvision.models.mobilenet_v2(weights=None).state_dict())
    with caplog.at_level("INFO"):
        tiny(weights=path)
    (message,) = caplog.messages
    assert message.startswith(f"weights {path}: ")
    assert "re-initialised: backbone.fpn, rpn.head, roi_heads.box_head" in message
    assert "not used: classifier.1" in message
    assert "\n" not in message


def refused(weights: str, architecture: str = "mobilenet_v2_fpn", **changes: Any) -> str:
    with pytest.raises(SegtrainError) as caught:
        load(weights, architecture, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_weights_of_another_shape(tmp_path: Path) -> None:
    resnet = save(tmp_path / "resnet.pth", torchvision.models.resnet18(weights=None).state_dict())
    assert "backbone.body.0.0.weight is missing there" in refused(resnet)
    assert resnet in refused(resnet)
    wide = save(tmp_path / "wide.pth", tiny(fpn_channels=24).state_dict())
    assert "is (24, 24, 1, 1) there and (16, 24, 1, 1) here" in refused(wide)
    assert "segmenter.weights=null" in refused(wide)
    head = save(tmp_path / "head.pth", tiny(box_head_width=32).state_dict())
    assert "roi_heads.box_head.fc6.weight is (32, 784) there and (24, 784) here" in refused(head)
    truncated = tiny().state_dict()
    truncated.pop("rpn.head.cls_logits.weight")
    part = save(tmp_path / "part.pth", truncated)
    assert "rpn.head.cls_logits.weight is missing there" in refused(part)


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched-by-a-pickle"),))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("these are no weights\n"),
        lambda path: path.write_text("<!DOCTYPE html><html>Not found</html>"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x00" * 100),
        lambda path: path.write_bytes(pickle.dumps({"model": {1, 2}})),
        lambda path: path.write_bytes(pickle.dumps(Malicious())),
        write_zip,
        lambda path: path.mkdir(),
        lambda path: save(path, Malicious()),
        lambda path: save(path, [torch.zeros(1)]),
        lambda path: save(path, torch.zeros(3)),
        lambda path: save(path, {}),
        lambda path: save(path, {"model": {}}),
        lambda path: save(path, {"model": None}),
        lambda path: save(path, {"weights": "none"}),
        lambda path: save(path, {1: torch.zeros(2)}),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    write(path)
    assert str(path) in refused(str(path))
    assert not (tmp_path / "touched-by-a-pickle").exists()


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(20), "b": torch.ones(3, 4), "names": ["x", "y"]}, buffer)
    new = buffer.getvalue()
    old_buffer = io.BytesIO()
    torch.save({"a": torch.zeros(20)}, old_buffer, _use_new_zipfile_serialization=False)
    rng, path = random.Random(0), tmp_path / "damaged.pt"
    for original in (new, old_buffer.getvalue()):
        for _ in range(150):
            content = bytearray(original[: rng.choice([len(original), rng.randrange(len(original))])])
            for _ in range(rng.randrange(4)):
                if content:
                    content[rng.randrange(len(content))] = rng.randrange(256)
            path.write_bytes(content)
            with contextlib.suppress(SegtrainError):  # it may also be readable still
                read_state(path)


def test_a_name_that_is_neither_published_nor_a_file() -> None:
    message = refused("COCO_V9", "resnet50_fpn")
    assert "COCO_V9" in message
    assert "COCO_V1, IMAGENET1K_V1, IMAGENET1K_V2" in message
    assert "COCO_V1" in refused("COCO_V1")  # published, but for another architecture


@pytest.mark.parametrize("error", [URLError("no network"), OSError("disk full"), RuntimeError("invalid hash\nvalue")])
def test_weights_that_cannot_be_downloaded(hub: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    message = refused("COCO_V1", "resnet50_fpn")
    assert COCO.url in message
    assert str(hub) in message


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x00" * 50])
def test_a_broken_file_among_the_downloads(hub: Path, content: bytes) -> None:
    (hub / Path(COCO.url).name).write_bytes(content)
    message = refused("COCO_V1", "resnet50_fpn")
    assert Path(COCO.url).name in message
    assert str(hub) in message


def test_real_backbone_weights() -> None:
    path = REAL / "weights" / "mobilenet_v2_imagenet_features.pt"
    if not path.exists():
        pytest.skip("no real data: set SEGTRAIN_REAL_DATA")
    model = tiny(weights=str(path), norm="auto")
    state = torch.load(path, weights_only=True)
    stock = torchvision.models.mobilenet_v2(weights=None).features.eval()
    stock.load_state_dict({name.removeprefix("features."): value for name, value in state.items()})
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected, found = images, model.backbone.body(images)
        for name, layer in stock.named_children():
            expected = layer(expected)
            if name == "18":
                torch.testing.assert_close(found["3"], expected, rtol=1e-4, atol=1e-4)


def test_what_torch_says_of_a_file_becomes_one_plain_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(
        SegtrainError, match=r"\(it holds more than .*: torch\.nn\.modules\.linear\.Linear\); give"
    ) as caught:
        read_state(path)
    assert "\x1b" not in str(caught.value)
    assert "weights_only" not in str(caught.value), "torch's advice is to run foreign code"
    for content, reason in {b"": "EOFError", b"hello": "KeyError"}.items():
        path.write_bytes(content)
        with pytest.raises(SegtrainError, match=rf"can be read \({reason}\); give another file"):
            read_state(path)
    torch.save({"a": 1}, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SegtrainError, match=r"failed finding central directory\); give another file"):
        read_state(path)
