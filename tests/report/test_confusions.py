"""Section of confused categories: words and matrix."""

from typing import Any

from segtrain.report.blocks import Bullets, Folded, Matrix, Paragraph
from segtrain.report.html import html_report
from segtrain.report.markdown import markdown_report
from segtrain.report.sections.confusions import confusions
from tests.helpers.report_examples import method, results, typed


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
