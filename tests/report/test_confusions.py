"""Section of confused categories: words and matrix."""

from typing import Any

import msgspec
import numpy as np

from segtrain import masks
from segtrain.benchmark.results import Confusion
from segtrain.evaluation import Detections, GroundTruthSet
from segtrain.records import Category
from segtrain.report.blocks import Bullets, Folded, Matrix, Paragraph
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.sections.confusions import confused_images, confusions, find_confusions
from tests.helpers.report_examples import method, results, typed

SIZE = (20, 20)


def at(x: int, side: int = 5) -> Any:
    return masks.encode_crop(np.ones((side, side)), x, 3, SIZE)


def test_thresholds_of_categories_decide_before_the_matching() -> None:
    """A cat of high score that does not count leaves the object to the dog."""
    truths: Any = [
        {"id": n, "image_id": 1 + n % 2, "category_id": 3, "segmentation": at(0), "area": 25.0, "iscrowd": 0}
        for n in range(2)
    ]
    records = [(1, 3, 0, 0.7), (1, 9, 0, 0.4), (2, 9, 12, 0.9), (2, 9, 6, 0.2)]
    found: Any = [
        {"image_id": image, "category_id": category, "segmentation": at(x), "score": score}
        for image, category, x, score in records
    ]
    truth = GroundTruthSet([Category(3, "cat"), Category(9, "dog")], {1: SIZE, 2: SIZE}, truths)
    names = {1: "one.png", 2: "two.png"}
    plain = find_confusions(Detections(found, None, True, 0.5), truth, 100, names)
    others = [Confusion(3, None, 1, 1, ["two.png"]), Confusion(None, 9, 1, 1, ["two.png"])]
    assert plain == [Confusion(3, 3, 1, 1, ["one.png"]), *others]
    own = Detections(found, None, True, 0.5, category_thresholds={3: 0.8, 9: 0.3})
    assert find_confusions(own, truth, 100, names) == [Confusion(3, 9, 1, 1, ["one.png"]), *others]
    assert find_confusions(Detections(found, None, False, 0.5), truth, 100, names) is None


def test_the_gallery_gets_an_image_of_each_confused_pair() -> None:
    content = made([(1, 1, 6), (1, 2, 3), (2, 1, 5)], ("cat", "dog"))
    _, *wrong = content.methods["network_0"].confusion
    named = [msgspec.structs.replace(entry, images=[f"{entry.count}.png", "other.png"]) for entry in wrong]
    own = msgspec.structs.replace(content.methods["network_0"], confusion=named)
    content = msgspec.structs.replace(content, methods={"network_0": own})
    assert confused_images(content) == [
        ("5.png", "network_0 takes dog for cat"),
        ("3.png", "network_0 takes cat for dog"),
    ]
    assert confused_images(typed(results())) == []


def test_cells_name_their_images() -> None:
    content = made([(1, 2, 3), (2, 2, 1)], ("cat", "dog"))
    first, second = content.methods["network_0"].confusion
    entries = [
        msgspec.structs.replace(first, in_images=40, images=["b</script>.png", "a.png"]),
        msgspec.structs.replace(second, in_images=1, images=["a.png"]),
    ]
    own = msgspec.structs.replace(content.methods["network_0"], confusion=entries)
    content = msgspec.structs.replace(content, methods={"network_0": own})
    section = confusions(content)
    assert section is not None
    matrix = section.blocks[-1]
    assert isinstance(matrix, Matrix)
    listed = matrix.listed
    assert (listed["method"], listed["groups"]) == ("network_0", [[0], [1], [2]])
    names = {cell: [listed["names"][n] for n in places] for cell, (_, _, *places) in listed["cells"].items()}
    assert names == {"0 1": ["b</script>.png", "a.png"], "1 1": ["a.png"]}
    assert listed["cells"]["0 1"][:2] == [40, 0]
    page = html_report(content)
    assert '<button type="button" data-cell="0 1">3<small>100 %</small></button>' in page
    assert "b</script>.png" not in page


def made(confusion: Any, names: tuple[str, ...], methods: int = 1) -> Any:
    rows = {f"network_{n}": method(0.5 - n / 10, 0.2, [*names], aware=True) for n in range(methods)}
    for row in rows.values():
        row["confusion"] = [dict(zip(("true", "found", "count"), entry, strict=True)) for entry in confusion]
    content = results(rows, names)
    content["data"]["categories"] = [{"id": n, "name": name, "annotations": 9} for n, name in enumerate(names, 1)]
    return typed(content)


def test_the_most_confused_pairs_are_named() -> None:
    section = confusions(made([(1, 1, 6), (1, 2, 3), (1, None, 1), (2, 1, 1), (None, 2, 4)], ("cat", "dog")))
    assert section is not None
    _, _, words, matrix = section.blocks
    assert isinstance(words, Bullets)
    assert words.entries == [
        "cat is taken for dog 3 times, in 30 % of its 10 objects.",
        "dog is taken for cat once, in 100 % of its 1 object.",
    ]
    assert isinstance(matrix, Matrix)
    assert (matrix.rows, matrix.columns) == (["cat", "dog", "no object"], ["cat", "dog", "missed"])
    assert matrix.counts == [[6, 3, 1], [1, 0, 0], [0, 4, 0]]
    assert [matrix.kind(n, n) for n in range(3)] == ["right", "right", "wrong"]


def test_no_confusion_is_said_and_further_methods_are_folded() -> None:
    section = confusions(made([(1, 1, 6)], ("cat", "dog"), methods=2))
    assert section is not None
    assert section.blocks[2] == Paragraph("No object that was found has another category.")
    assert isinstance(section.blocks[-1], Folded)
    assert confusions(typed(results())) is None


def test_of_many_categories_the_most_confused_ones_are_shown() -> None:
    names = tuple(f"category {n}" for n in range(1, 31))
    entries = [(n, n, 10) for n in range(1, 31)] + [(30, 29, 5), (1, None, 2), (7, 8, 1)]
    section = confusions(made(entries, names))
    assert section is not None
    matrix = section.blocks[-1]
    assert isinstance(matrix, Matrix)
    assert {"category 7", "category 8", "category 29", "category 30"} <= set(matrix.rows)
    assert len(matrix.rows) == len(matrix.columns) == 22
    assert matrix.rows[-2:] == ["others", "no object"]
    assert sum(map(sum, matrix.counts)) == sum(count for *_, count in entries)
    assert matrix.kind(20, 20) == "mixed"


def test_both_reports_show_the_matrix() -> None:
    found = made([(1, 1, 6), (1, 2, 3), (None, 2, 4)], ("cat", "<b>dog|"))
    page, text = html_report(found), markdown_report(found)
    assert 'title="cat → &lt;b&gt;dog|: 3, 33 % of the row"' in page
    assert "cat is taken for &lt;b&gt;dog| 3 times" in page
    assert "| cat " in text
    assert r"&lt;b&gt;dog\|" in text
