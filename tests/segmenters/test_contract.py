"""Contract of every ``configs/segmenter/*.yaml``, for any image."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from segtrain import masks
from segtrain.errors import SegtrainError
from segtrain.records import Instances
from segtrain.segmenters import Segmenter
from segtrain.segmenters.classical.segmenter import LabelMapSegmenter

CONFIGS = Path(__file__).parents[2] / "configs" / "segmenter"
# A network is not built from its file alone (it needs the number of classes): its contract is tested beside it.
CLASSICAL = sorted(
    path.stem for path in CONFIGS.glob("*.yaml") if "classical.segmenter.LabelMapSegmenter" in path.read_text()
)


def load(name: str) -> Segmenter:
    segmenter: Segmenter = instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), _convert_="all")
    return segmenter


def discs(height: int, width: int, background: int, cell: int) -> torch.Tensor:
    """Four separate discs with some noise."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:height, :width]
    plane = np.full((height, width), background, dtype=np.float64)
    for cy, cx in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        plane[(y - cy * height) ** 2 + (x - cx * width) ** 2 < (height / 8) ** 2] = cell
    noisy = plane[None] + rng.normal(0, 3, (3, height, width))
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))


def images() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "black": torch.zeros(3, 20, 30, dtype=torch.uint8),
        "white": torch.full((3, 20, 30), 255, dtype=torch.uint8),
        "one colour": torch.tensor([10, 200, 77], dtype=torch.uint8)[:, None, None].repeat(1, 41, 13),
        "1 x 1": torch.full((3, 1, 1), 9, dtype=torch.uint8),
        "one row": torch.randint(0, 256, (3, 1, 57), dtype=torch.uint8, generator=generator),
        "one column": torch.randint(0, 256, (3, 57, 1), dtype=torch.uint8, generator=generator),
        "2 x 3": torch.randint(0, 256, (3, 2, 3), dtype=torch.uint8, generator=generator),
        "noise": torch.randint(0, 256, (3, 37, 53), dtype=torch.uint8, generator=generator),
        "two colours": torch.arange(40 * 40, dtype=torch.uint8)
        .reshape(40, 40)
        .div(128)
        .round()
        .mul(200)
        .byte()
        .repeat(3, 1, 1),
        "bright discs": discs(64, 96, 30, 200),
        "dark discs": discs(96, 64, 220, 60),
        "not contiguous": discs(64, 64, 30, 200).permute(2, 0, 1).contiguous().permute(1, 2, 0),
    }


@pytest.fixture(scope="module", params=CLASSICAL)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return load(request.param)


def check(image: torch.Tensor, found: Instances, min_area: int) -> None:
    size = tuple(image.shape[1:])
    assert found.size == size
    planes = np.array([masks.decode(rle) for rle in found.rles]).reshape(-1, *size)
    assert (planes.sum(axis=0) <= 1).all(), "regions overlap"
    assert (planes.sum(axis=(1, 2)) >= min_area).all(), "a region is too small"
    assert (found.labels == 0).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()
    for plane, box in zip(planes, found.boxes, strict=True):
        rows, columns = np.nonzero(plane)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("kind", images())
def test_any_image_gives_valid_instances(segmenter: Segmenter, kind: str) -> None:
    image = images()[kind]
    before = image.clone()
    (found,) = segmenter.segment([image])
    check(image, found, min_area=16)
    assert torch.equal(image, before)


@pytest.mark.parametrize("kind", ["black", "white", "one colour", "1 x 1"])
def test_nothing_is_found_in_a_constant_image(segmenter: Segmenter, kind: str) -> None:
    (found,) = segmenter.segment([images()[kind]])
    # Every pixel of a bright plane is above fixed thresholds, which is what threshold_multi is; nothing else may.
    assert len(found) <= 1
    assert (found.scores == 0).all()


def test_a_batch_is_its_images_one_by_one(segmenter: Segmenter) -> None:
    batch = list(images().values())
    together = segmenter.segment(batch)
    alone = [segmenter.segment([image])[0] for image in batch]
    for one, other in zip(together, alone, strict=True):
        assert one.rles == other.rles
        assert np.array_equal(one.scores, other.scores)
        assert np.array_equal(one.boxes, other.boxes)
    assert segmenter.segment([]) == []


@pytest.mark.parametrize("name", ["threshold_otsu", "threshold_local", "edge_canny", "kmeans_lab"])
@pytest.mark.parametrize("kind", ["bright discs", "dark discs"])
def test_robust_rows_find_discs_of_either_polarity(name: str, kind: str) -> None:
    image = images()[kind]
    (found,) = load(name).segment([image])
    assert len(found) == 4
    radius = image.shape[1] / 8
    assert masks.area(found.rles) == pytest.approx(np.full(4, np.pi * radius**2), rel=0.25)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned NoneType"),
        (np.zeros((5, 4), np.int64), r"returned an array of type int64 and shape \(5, 4\)"),
        (np.zeros((4, 5, 3), np.int64), r"returned an array of type int64 and shape \(4, 5, 3\)"),
        (np.zeros((4, 5), np.bool_), r"returned an array of type bool and shape \(4, 5\)"),
        (np.zeros((4, 5)), r"returned an array of type float64 and shape \(4, 5\)"),
        (np.full((4, 5), -1), "returned a region with number -1"),
    ],
)
def test_a_function_that_returns_no_label_map_is_named(returned: Any, said: str) -> None:
    def blank(_image: object) -> Any:
        return returned

    segmenter = LabelMapSegmenter(blank, 1, "blank", None, None)
    with pytest.raises(SegtrainError, match=f"^blank {said}; "):
        segmenter.segment([torch.zeros(3, 4, 5, dtype=torch.uint8)])


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_label_maps_of_any_integer_type(kind: type[np.integer[Any]]) -> None:
    def corner(_image: object) -> Any:
        return np.eye(4, 5, dtype=kind)

    (found,) = LabelMapSegmenter(corner, 1, "corner", None, None).segment([torch.zeros(3, 4, 5, dtype=torch.uint8)])
    assert masks.area(found.rles).tolist() == [4]


@pytest.mark.parametrize("name", CLASSICAL)
def test_every_row_begins_with_its_command(name: str) -> None:
    first = (CONFIGS / f"{name}.yaml").read_text().splitlines()[0]
    assert first == f"# python evaluate.py methods=none +segmenter@segmenters.{name}={name}"


@pytest.mark.parametrize("name", CLASSICAL)
def test_defaults_of_the_functions_are_those_of_the_rows(name: str) -> None:
    node = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))["method"]
    method = instantiate(node, _convert_="all")
    parameters = inspect.signature(method.func).parameters
    defaults = {key: value.default for key, value in parameters.items() if value.default is not value.empty}
    assert method.keywords == defaults
