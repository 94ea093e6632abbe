"""Section of labels to look at: its words, pictures and tables."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from segtrain import masks
from segtrain.benchmark.runner import MethodResult
from segtrain.benchmark.suspects import Suspect
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.records import Category
from segtrain.report.gallery import suspect_crops
from segtrain.report.gallery.suspect_crops import SHOWN, SuspectList, cut_out, list_suspects
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.sections.suspect_labels import suspects
from tests.helpers.report_examples import results, typed

SIZE = (60, 80)


def square(x: int, y: int, side: int = 10) -> masks.Rle:
    return masks.encode_crop(np.ones((side, side), np.uint8), x, y, SIZE)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a list of an object without a label, and of labels of another category, with pictures or without."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    monkeypatch.setattr(suspect_crops, "file_ids", lambda index: {1: 71})
    monkeypatch.setattr(
        suspect_crops, "read_picture", lambda reader, image, rles: SimpleNamespace(pixels=pixels, masks=rles)
    )
    label: Any = {"id": 1, "image_id": 5, "category_id": 1, "segmentation": square(4, 4), "area": 100.0, "iscrowd": 0}
    truth = GroundTruthSet([Category(1, "round"), Category(2, "lobed")], {5: SIZE}, [label])
    index = SimpleNamespace(images=[SimpleNamespace(id=5, file_name="<five>.png", size=SIZE)])
    rows = {"mask_rcnn": MethodResult(Detections([], None, True, 0.5))}
    benchmark: Any = SimpleNamespace(split=SimpleNamespace(index=index, images=object()), ground_truth=truth, rows=rows)
    of_label = Suspect("category", 5, 1, 0.9, ["mask_rcnn"], [square(5, 4)], 2)
    without = Suspect("unlabelled", 5, None, 0.95, ["mask_rcnn"], [square(60, 40)], 2)

    def made(number: int, pictures: bool = True) -> SuspectList:
        return list_suspects(benchmark, [without, *[of_label] * number][: number + 1], ["mask_rcnn"], pictures)

    return made


def test_pictures_with_both_outlines_and_captions(found: Any) -> None:
    page, text = (report(typed(results()), suspects=found(SHOWN + 5)) for report in (html_report, markdown_report))
    section = page.split('<section id="suspects">')[1].split("</section>")[0]
    assert section.count('src="data:image/jpeg;base64,') == SHOWN
    assert section.count('<path class="labelled"') == SHOWN - 1
    assert section.count("<path d=") == SHOWN
    for said in (
        "Of 30 suspects: 1 found without a label, 29 found as another category.",
        "the first 24 are shown here, 6 more there.",
        "1. object without a label",
        "2. another category</b><span>round, found as lobed</span><span>annotation 71</span>",
        "&lt;five&gt;.png",
    ):
        assert said in section
    assert "mask_rcnn contradicts" in section
    assert "## Labels to look at" in text
    assert text.count("| another category") == 9


def test_a_table_without_images(found: Any) -> None:
    page = html_report(typed(results()), suspects=found(1, pictures=False))
    section = page.split('<section id="suspects">')[1].split("</section>")[0]
    assert "<img" not in section
    assert "round, found as lobed" in section
    assert "All are in <code>suspects.json</code>, a COCO file for re-annotation." in section


@pytest.mark.parametrize(("f1", "warned"), [(0.6, True), (0.8, False)])
def test_weak_methods_are_named_so(found: Any, f1: float, warned: bool) -> None:
    content = results()
    content["methods"]["mask_rcnn"]["class_agnostic"]["f1_50"] = f1
    said = markdown_report(typed(content), found(1, pictures=False))
    assert (f"weak here: the best F1 is {f1:.2f}" in said) == warned


def test_nothing_to_look_at() -> None:
    section = suspects(typed(results()), SuspectList(["mask_rcnn"], {}, []))
    assert section is not None
    assert [block.text for block in section.blocks] == ["No label is clearly contradicted by mask_rcnn."]  # type: ignore[union-attr]
    assert suspects(typed(results()), SuspectList([], {}, [])) is None
    assert suspects(typed(results()), None) is None


def test_outlines_lie_on_their_pixels() -> None:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[45:55, 65:75] = 255
    picture, size, (label, other) = cut_out(pixels, [square(65, 45)], [square(60, 45)])
    assert picture.shape == (size[1], size[0], 3)
    y, x = np.argwhere(picture[..., 0])[0]
    assert label.startswith(f"M{x} {y}l")
    assert other.startswith(f"M{x - 5} {y}l")
