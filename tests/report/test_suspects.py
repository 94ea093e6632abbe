"""Section of labels to look at: its words, pictures and tables."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segtrain as st
from segtrain import masks
from segtrain.benchmark.runner import Benchmark, MethodResult
from segtrain.benchmark.suspects import Suspect
from segtrain.data.images.large_image import LargeImage
from segtrain.data.splits import Split
from segtrain.evaluation import TRACKS, Detections
from segtrain.report.blocks import Crops
from segtrain.report.gallery import suspect_crops
from segtrain.report.gallery.suspect_crops import SHOWN, SuspectList, list_suspects
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.sections.suspect_labels import suspect_labels
from tests.data.images.test_large_image import large_split
from tests.helpers.large_data import LIMIT, large_picture, write_large_data
from tests.helpers.report_examples import results, typed

SIZE = (60, 80)
NAMES = ("<one> & two.png", "b.png")
LABELS = ((11, 1, 1, 0, 0), (12, 1, 2, 40, 30), (13, 2, 1, 20, 20))  # id, image, category, x, y


def square(x: int, y: int, side: int = 10) -> masks.Rle:
    return masks.encode_crop(np.ones((side, side), np.uint8), x, y, SIZE)


MISSED, CATEGORY, OUTLINE, WITHOUT, UNNAMED = SUSPECTS = [
    Suspect("missed", 1, 1, 0.99, ["mask_rcnn", "kmeans"], [], 1),
    Suspect("category", 2, 3, 0.9, ["mask_rcnn"], [square(20, 20)], 2),
    Suspect("outline", 1, 2, 0.8, ["mask_rcnn"], [square(44, 30)], 2),
    Suspect("unlabelled", 2, None, 0.7, ["mask_rcnn", "kmeans"], [square(60, 40)], 1),
    Suspect("unlabelled", 2, None, 0.6, ["kmeans"], [square(5, 45)], 0),
]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Two images with a blue square under each label, on grey."""
    (tmp_path / "images").mkdir()
    for image, name in enumerate(NAMES, 1):
        pixels = np.full((*SIZE, 3), 128, np.uint8)
        for _, own, _, x, y in LABELS:
            if own == image:
                pixels[y : y + 10, x : x + 10] = (0, 0, 255)
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    content = {
        "images": [{"id": i, "file_name": n, "height": SIZE[0], "width": SIZE[1]} for i, n in enumerate(NAMES, 1)],
        "categories": [{"id": 1, "name": "round"}, {"id": 2, "name": "lobed"}],
        "annotations": [
            {
                "id": own, "image_id": image, "category_id": category, "iscrowd": 0, "area": 100,
                "bbox": [x, y, 10, 10], "segmentation": [[x, y, x + 10, y, x + 10, y + 10, x, y + 10]],
            }
            for own, image, category, x, y in LABELS
        ],
    }  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return st.load_coco(tmp_path / "labels.json", tmp_path / "images", intensity="full")


def listed(split: Split, suspects: list[Suspect] = SUSPECTS, *, pictures: bool = True) -> SuspectList:
    benchmark = Benchmark(split, max_dets=100, tracks=TRACKS, seed=0)
    aware = {"mask_rcnn": True, "kmeans": False}
    benchmark.rows.update({name: MethodResult(Detections([], None, own, 0.5)) for name, own in aware.items()})
    return list_suspects(benchmark, suspects, list(aware), pictures=pictures)


def section_of(found: SuspectList) -> str:
    page = html_report(typed(results()), suspects=found)
    return page.split('<section id="suspects">')[1].split("</section>")[0]


def test_captions_name_the_suspicion_its_category_and_its_label(split: Split) -> None:
    section = suspect_labels(typed(results()), listed(split))
    assert section is not None
    block = section.blocks[-1]
    assert isinstance(block, Crops)
    assert [(item.title, list(item.facts), item.methods) for item in block.items] == [
        ("1. not found", ["round", "annotation 11"], "mask_rcnn, kmeans"),
        ("2. found as another category", ["round, found as lobed", "annotation 13"], "mask_rcnn"),
        ("3. found with another outline", ["lobed", "annotation 12"], "mask_rcnn"),
        ("4. found without a label", ["round"], "mask_rcnn, kmeans"),
        ("5. found without a label", [], "kmeans"),  # which knows no categories
    ]


def test_page_and_markdown_show_the_first_ones(split: Split) -> None:
    found = listed(split, [WITHOUT, *[CATEGORY] * (SHOWN + 5)])
    section, text = section_of(found), markdown_report(typed(results()), found)
    assert section.count('src="data:image/jpeg;base64,') == SHOWN
    assert section.count('<path class="labelled"') == SHOWN - 1
    assert section.count("<path d=") == SHOWN
    for said in (
        "Of 30 suspects: 1 found without a label, 29 found as another category.",
        "the first 24 are shown here, 6 more there.",
        "that mask_rcnn, kmeans contradict, those first",
    ):
        assert said in section
    assert "## Labels to look at" in text
    assert text.count("| found as another category") == SHOWN - 1
    assert "&lt;one&gt; &amp; two.png" in section_of(listed(split, [MISSED]))


def test_a_table_without_pictures(split: Split) -> None:
    for found in (listed(split, pictures=False), listed(replace(split, images=None))):
        section = section_of(found)
        assert "<img" not in section
        assert "round, found as lobed" in section
        assert "All are in <code>suspects.json</code>, a COCO file for re-annotation." in section


def test_an_image_that_cannot_be_read_has_a_caption_alone(split: Split, caplog: pytest.LogCaptureFixture) -> None:
    (split.index.path.parent / "images" / NAMES[1]).write_bytes(b"no image")
    section = section_of(listed(split))
    assert section.count("<img") == 2
    assert "5. found without a label" in section
    assert len([line for line in caplog.messages if "have no picture" in line]) == 1


@pytest.mark.parametrize(("f1", "warned"), [(0.6, True), (0.8, False)])
def test_weak_methods_are_named_so(split: Split, f1: float, warned: bool) -> None:
    content = results()
    content["methods"]["mask_rcnn"]["class_agnostic"]["f1_50"] = f1
    said = markdown_report(typed(content), listed(split, pictures=False))
    assert (f"weak here: the best F1 is {f1:.2f}" in said) == warned


def test_nothing_to_look_at() -> None:
    section = suspect_labels(typed(results()), SuspectList(["mask_rcnn"], {}, []))
    assert section is not None
    assert [block.text for block in section.blocks] == ["No label is clearly contradicted by mask_rcnn."]  # type: ignore[union-attr]
    assert suspect_labels(typed(results()), SuspectList([], {}, [])) is None
    assert suspect_labels(typed(results()), None) is None


def test_crops_show_the_label_and_what_was_found(split: Split) -> None:
    missed, category, outline, without, _ = (entry.crop for entry in listed(split).entries if entry.crop)
    # 32 pixels around an object of 10, moved into the image at its corner.
    assert (missed.width, missed.height) == (32, 32)
    assert (missed.label, missed.found) == ("M0 0l0 9 9 0 0-9z", "")
    assert category.label == category.found == "M11 11l0 9 9 0 0-9z"
    assert (outline.label, outline.found) == ("M9 11l0 9 9 0 0-9z", "M13 11l0 9 9 0 0-9z")
    assert (without.label, without.found) == ("", "M12 12l0 9 9 0 0-9z")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(missed.uri.partition(",")[2]))).convert("RGB"))
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels[3:7, 3:7] - np.array([0, 0, 255])).max() < 40
    assert np.abs(pixels[20:, 20:] - 128.0).max() < 20


def test_all_parts_of_a_merged_label_are_outlined(split: Split) -> None:
    merged = Suspect("merged", 2, 3, 0.9, ["kmeans"], [square(20, 20, 4), square(26, 20, 4)], 1)
    (entry,) = listed(split, [merged]).entries
    assert entry.crop is not None
    assert entry.crop.found == "M11 11l0 3 3 0 0-3zM17 11l0 3 3 0 0-3z"


def test_large_images_are_read_once_and_by_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[Any]()
    read_or_open = suspect_crops.read_or_open
    monkeypatch.setattr(suspect_crops, "read_or_open", lambda *given: opened.append(read_or_open(*given)) or opened[-1])
    folder, labels = write_large_data(tmp_path), large_picture()[1]
    suspects = [Suspect("unlabelled", 1, None, 0.9, ["kmeans"], [masks.encode(labels == n)], 1) for n in (7, 9)]
    whole, windows = (listed(large_split(folder, limit)[0], suspects) for limit in (10**6, LIMIT))
    assert [isinstance(image, LargeImage) for image in opened] == [False, True]
    assert [entry.crop for entry in whole.entries] == [entry.crop for entry in windows.entries]
    assert [entry.category_id for entry in whole.entries] == [1, 1]  # the only category
    monkeypatch.setattr(suspect_crops, "_DECODED", 10)
    shown = listed(large_split(folder, LIMIT)[0], suspects)
    assert [entry.crop for entry in shown.entries] == [entry.crop for entry in whole.entries]  # from an overview of all


def test_size_is_bounded(split: Split) -> None:
    """Noise as large as an image is drawn as its box."""
    size, noise = (200, 200), np.random.default_rng(0)
    path = split.index.path.parent / "images" / NAMES[1]
    Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    index = replace(split.index, images=split.index.images.with_sizes({1: size}))
    ragged = replace(WITHOUT, found=[masks.encode(noise.random(size) < 0.5)])
    crops = [entry.crop for entry in listed(replace(split, index=index), [ragged] * SHOWN).entries if entry.crop]
    assert len(crops) == SHOWN
    assert crops[0].found == "M0 0l0 199 199 0 0-199z"
    assert sum(len(crop.uri) for crop in crops) < 600_000
