"""Result files whose masks are in another frame than the images."""

import json
from pathlib import Path
from typing import Any

import pytest

import segtrain as st
from segtrain.errors import SegtrainError
from tests.helpers.drawn_frames import BOTH, BOXES, POLYGONS, RUNS, Content, healthy

# pycocotools 2.0.11 under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def load(folder: Path, content: Content, truth: Content) -> Any:
    """Load annotations as detections of the images of others."""
    keys = ("image_id", "category_id", "segmentation", "bbox")
    records = [{key: one[key] for key in keys if key in one} | {"score": 0.5} for one in content["annotations"]]
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(records))
    return st.load_results(folder / "found.json", st.load_coco(folder / "truth.json"))


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (POLYGONS["fractions, 0 to 1"], "polygons", "they are fractions, 0 to 1"),
        (POLYGONS["multiplied by 2"], "polygons", "multiplied by 2"),
        (BOTH["multiplied by 0.52"], "polygons", "lie outside of their images"),
        (RUNS["along rows instead of columns"], "run-length masks", "runs along rows"),
        (RUNS["begin with 1s"], "run-length masks", "runs that begin with 1s"),
    ],
    ids=["fractions", "scaled", "scaled with boxes", "rows", "inverted"],
)
def test_masks_in_another_frame_are_an_error(change: Any, kind: str, words: str, tmp_path: Path) -> None:
    content = healthy(2, kind=kind)
    change(content)
    with pytest.raises(SegtrainError, match=f"found.json: .*{words}.*; write masks as COCO defines them"):
        load(tmp_path, content, healthy(2))


@pytest.mark.parametrize("kind", ["polygons", "run-length masks"])
def test_right_masks_pass_without_a_warning(kind: str, tmp_path: Path) -> None:
    content = healthy(2, kind=kind)
    assert len(load(tmp_path, content, healthy(2)).masks) == 20
    for annotation in content["annotations"]:
        del annotation["bbox"]
    assert len(load(tmp_path, content, healthy(2)).masks) == 20


def test_boxes_in_another_layout_are_said(tmp_path: Path) -> None:
    content = healthy(2)
    BOXES["[x1, y1, x2, y2]"](content)
    with pytest.warns(UserWarning, match=r"20 of 20 boxes contradict their masks.*\[x1, y1, x2, y2\]"):
        load(tmp_path, content, healthy(2))
