"""The files of a report: complete, valid, and safe whatever the names in them."""

import csv
import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from segtrain.benchmark.results import Results
from segtrain.benchmark.runner import EvaluationFolder
from segtrain.errors import SegtrainError
from segtrain.evaluation import Detections
from segtrain.metrics.scores import plain
from segtrain.records import BoxPrediction, Category
from segtrain.report.sections.about import data_title, fact_terms, notes
from segtrain.report.writer import csv_text, terminal_table, write_report
from tests.helpers.report_examples import (
    HOSTILE,
    METRICS,
    boxes_only,
    complete,
    gallery,
    method,
    prediction,
    results,
    square,
    with_kinds,
    with_limits,
)

FILES = {"results.json", "results.csv", "report.md", "report.html"}
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open[-1:]:
            self.texts.setdefault(tag, []).append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("rows", [["mask_rcnn/a", "b", "mask_rcnn/a"], ["net", "net.bbox"]])
def test_rows_of_one_file_are_refused(tmp_path: Path, rows: list[str]) -> None:
    with pytest.raises(SegtrainError, match=r"two rows would write .*json; choose another name for one of them"):
        EvaluationFolder(tmp_path).prepare(rows, overwrite=False)


def test_exported_boxes_are_written_in_place_of_predicted_ones(tmp_path: Path) -> None:
    predicted, exported = (BoxPrediction(image_id=1, category_id=1, bbox=[0, 0, w, 2.0], score=1.0) for w in (3.0, 4.0))
    for boxes, expected in (([exported], exported), (None, predicted)):
        found = Detections([], [predicted], True, 0.5, exported_boxes=boxes)
        EvaluationFolder(tmp_path).write_records("net", found, [Category(1, "cell")])
        assert json.loads((tmp_path / "predictions" / "net.bbox.json").read_text()) == [expected]


def report(folder: Path, content: object, items: object = ()) -> Page:
    return Page(write_report(folder, Results.of(content), items).read_text())  # type: ignore[arg-type]


def test_writes_four_files_and_nothing_else(tmp_path: Path) -> None:
    path = write_report(tmp_path / "new" / "run", Results.of(results()), gallery())
    assert path == tmp_path / "new" / "run" / "report.html"
    assert {p.name for p in path.parent.iterdir()} == FILES


SECTIONS = [
    "verdict", "headline", "speed", "curves", "gallery", "numbers", "aware", "categories", "methods", "definitions",
    "data", "environment", "reproduce",
]  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
def test_page_has_every_section_and_the_contents_lead_to_them(tmp_path: Path, whole: bool) -> None:
    page = report(tmp_path, complete() if whole else results(), gallery())
    sections = [a["id"] for a in page.named("section")]
    assert sections == ([*SECTIONS[:5], "differences", *SECTIONS[5:]] if whole else SECTIONS)
    links = [a["href"] for a in page.named("a") if a.get("class") != "skip"]
    assert links == [f"#{name}" for name in sections]


def test_page_needs_no_network(tmp_path: Path) -> None:
    page = report(tmp_path, results(), gallery())
    for _, attributes in page.tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:"))
    assert "url(" not in (tmp_path / "report.html").read_text()


def test_page_is_accessible(tmp_path: Path) -> None:
    page = report(tmp_path, complete(), gallery())
    assert all(image["alt"] for image in page.named("img"))
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in page.named("th"))
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.tags}
    assert len(page.named("caption")) == len(page.named("table"))
    drawings = [a for a in page.named("svg") if a.get("aria-hidden") != "true"]
    assert drawings
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_verdict_stands_at_the_head(tmp_path: Path) -> None:
    write_report(tmp_path, Results.of(complete()), [])
    for name, first_table in (("report.html", "<table"), ("report.md", "\n| ")):
        head = (tmp_path / name).read_text().split(first_table)[0]
        assert "mask_rcnn wins by a lot." in head
        assert "On mIoU the data cannot tell." in head


def test_oracles_are_set_apart(tmp_path: Path) -> None:
    page = report(tmp_path, complete(), gallery())
    assert "Upper bounds" in "".join(page.texts["span"])
    assert [a["class"] for a in page.named("tbody") if a.get("class")] == ["bounds"] * 5
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.count("| *`kmeans_oracle`*") == 5
    assert "Upper bounds: best setting per image" in markdown
    assert "Upper bounds" not in "".join(report(tmp_path, results()).texts["span"])


def test_the_headline_table_of_a_repository(tmp_path: Path) -> None:
    write_report(tmp_path, Results.of(complete()), [])
    lines = (tmp_path / "report.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")]
    rows = {cells[0]: cells[1:] for line in table[:7] if (cells := [c.strip() for c in line.strip("|").split("|")])}
    assert rows["method"] == [
        "mask AP",
        "AP50",
        "box AP",
        "mIoU",
        "F1",
        "PQ",
        "boundary IoU",
        "ms/image",
        "Δ mask AP",
        "p",
    ]
    # A no-break space within an interval and a p, which a narrow table would wrap.
    assert rows["`mask_rcnn`"][0] == "**0.500** [0.400,\xa00.550]"
    assert rows["`kmeans`"][-2:] == ["−0.390 [−0.450,\xa0−0.330]", "<\xa00.001"]
    assert rows["*`kmeans_oracle`*"][-2:] == ["+0.400 [+0.310,\xa0+0.480]", "0.034"]


def test_both_reports_have_one_order(tmp_path: Path) -> None:
    page = report(tmp_path, with_limits(with_kinds(complete())), gallery())
    heads = [
        line[3:].replace("`", "") for line in (tmp_path / "report.md").read_text().splitlines() if line[:3] == "## "
    ]
    assert heads == [title for title in page.texts["h2"] if title in heads]
    assert {"Speed and cost", "Differences to mask_rcnn", "Class-aware", "Per category"} < set(heads)


def test_a_dollar_makes_no_formula(tmp_path: Path) -> None:
    write_report(tmp_path, Results.of(results(categories=("$x$", "b"))), [])
    outside = re.sub(r"`[^`\n]*`", "", (tmp_path / "report.md").read_text())
    assert "\\$x\\$" in outside
    assert not re.search(r"(?<!\\)\$", outside)


def test_reports_tell_where_they_came_from(tmp_path: Path) -> None:
    content = results()
    content["data"] |= {"name": "instances_val.json", "annotations_file": "/data/nuclei/annotations/instances_val.json"}
    content["environment"]["date"] = "2026-11-26 18:30 +0000"
    content["directory"] = "/home/me/work"
    content["checkpoint"] = {
        "path": "best.pt",
        "minutes": 10.00873655355001,
        "metrics": {"mask_ap": 0.5738535655321086},
    }
    page = report(tmp_path, content)
    assert page.texts["title"][:1] == ["Segmentation benchmark: nuclei, instances_val.json"]
    text = re.sub(r"<[^>]+>", "", (tmp_path / "report.html").read_text())
    markdown = (tmp_path / "report.md").read_text()
    assert markdown.startswith("# Segmentation benchmark: nuclei, instances_val.json\n")
    for said in (text, markdown):
        for part in ("2026-11-26 18:30", "/data/nuclei/annotations/instances_val.json", "/home/me/work", "10.01"):
            assert part in said
        for part in ("10.008", "mask_ap"):
            assert part not in said


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/data/nuclei/annotations/val.json", "nuclei, val.json"),
        ("/data/nuclei/val.json", "nuclei, val.json"),
        ("annotations/val.json", "val.json"),
        ("/val.json", "val.json"),
        ("", "val.json"),
    ],
)
def test_data_are_called_by_their_folder_and_file(path: str, title: str) -> None:
    content = results()
    content["data"] |= {"name": "val.json", "annotations_file": path}
    assert data_title(Results.of(content)) == title


def test_facts_are_single_values_with_few_digits() -> None:
    known = {
        "minutes": 10.00873655355001,
        "step": 15240,
        "score": 0.5,
        "none": None,
        "metrics": {"ap": 1},
        "long": 14400.4,
    }
    shown = [(term.name, term.text) for term in fact_terms(known)]
    assert shown == [("minutes", "10.01"), ("step", "15240"), ("score", "0.5"), ("long", "14,400")]


def test_every_warning_is_a_sentence() -> None:
    content = Results.of(results() | {"warnings": ["few images", "Ends.", "Why?"]})
    assert notes(content)[:3] == ["Few images.", "Ends.", "Why?"]


def test_csv_round_trip() -> None:
    content = plain(results())
    rows = list(csv.DictReader(StringIO(csv_text(Results.of(content)))))
    assert [(row["method"], row["track"]) for row in rows] == [
        (name, track)
        for name, entry in content["methods"].items()
        for track in ("class_agnostic", "class_aware")
        if entry[track] is not None
    ]
    for row in rows:
        entry = content["methods"][row["method"]]
        for key in METRICS:
            value = entry[row["track"]][key]
            assert row[key] == "" if value is None else float(row[key]) == value
        seconds = (entry["timing"]["segmentation"] or {}).get("median")
        assert row["segmentation_seconds_median"] == ("" if seconds is None else str(seconds))
        assert float(row["score_threshold"]) == entry["score_threshold"]
        assert int(row["detections"]) == 40


def test_csv_keeps_hostile_names() -> None:
    content = plain(results({HOSTILE: method(0.2, 0.1, ["a"], aware=False)}))
    (row,) = csv.DictReader(StringIO(csv_text(Results.of(content)), newline=""))
    assert row["method"] == HOSTILE


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    content = results({HOSTILE: method(0.2, 0.1, [HOSTILE], aware=True)}, categories=(HOSTILE,))
    content["data"]["name"] = content["command"] = HOSTILE
    content["environment"] = {HOSTILE: HOSTILE}
    content["warnings"] = content["verdict"] = [HOSTILE]
    content["comparisons"] = {HOSTILE: {"mask_ap": {"difference": 0.1, "low": 0, "high": 0.2, "p": 0.5}}}
    items = gallery(file_name=HOSTILE)
    for item in items:
        item.predictions[HOSTILE], item.scores[HOSTILE] = item.predictions["mask_rcnn"], 0.5
    page = report(tmp_path, content, items)
    assert len(page.named("script")) == 1
    assert len(page.named("style")) == 1
    assert "".join(page.texts["h1"]).endswith(HOSTILE)
    assert "49" not in "".join(page.texts["h1"])
    markdown = (tmp_path / "report.md").read_text()
    outside = re.sub(r"```.*?```|`[^`\n]*`", "", markdown, flags=re.DOTALL)
    assert not re.findall(r"<(?!/?details>|/?summary>)", outside)
    for table in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1


def test_a_command_cannot_close_its_code_block(tmp_path: Path) -> None:
    content = results()
    content["command"] = "python evaluate.py\n```\n# heading"
    write_report(tmp_path, Results.of(content), [])
    assert "````sh\npython evaluate.py\n```\n# heading\n````" in (tmp_path / "report.md").read_text()


def test_one_method_is_no_contest(tmp_path: Path) -> None:
    page = report(tmp_path, results({"kmeans": method(0.2, 0.1, ["a"], aware=False)}), [])
    assert not page.named("strong")
    assert report(tmp_path, results()).named("strong")
    page = report(tmp_path, results({"kmeans": method(0.2, 0.1, ["a"], aware=False)}), [])
    assert "The mask AP of kmeans is 0.200." in (tmp_path / "report.html").read_text()
    assert "No method here tells categories apart." in (tmp_path / "report.md").read_text()


def test_boxes_only_row(tmp_path: Path) -> None:
    why = {"rows": ["boxes"], "tracks": ["class_agnostic"], "keys": ["mask_ap", "miou"], "why": "boxes only"}
    page = report(tmp_path, results({"boxes": boxes_only(["a"])}) | {"reasons": [why]}, [])
    assert not {"curves", "gallery"} & {a["id"] for a in page.named("section")}
    text = (tmp_path / "report.html").read_text()
    assert "The box AP of boxes is 0.258." in text
    assert "mask AP and mIoU of boxes" in text
    assert "Boxes only." in text
    assert "None" not in text
    assert "nan" not in (tmp_path / "report.md").read_text()


def test_nothing_is_measured(tmp_path: Path) -> None:
    row = method(0.0, None, [], aware=False)
    row["class_agnostic"].update(dict.fromkeys(METRICS), precision_recall=None)
    write_report(tmp_path, Results.of(results({"kmeans": row}, categories=())), [])
    write_report(tmp_path, Results.of(results({}, categories=())), [])
    assert "No method has a defined score on these data." in (tmp_path / "report.md").read_text()


def test_a_single_category_is_not_told_twice(tmp_path: Path) -> None:
    row = method(0.4, 0.1, ["cell"], aware=True)
    row["class_aware"] = row["class_agnostic"]
    page = report(tmp_path, results({"mask_rcnn": row}, categories=("cell",)), [])
    assert "categories" not in {a["id"] for a in page.named("section")}
    assert "The class-aware numbers" in page.texts["summary"]


@pytest.mark.parametrize(
    ("count", "size", "squares"), [(12, (400, 500), 4), pytest.param(100, (64, 80), 40, marks=pytest.mark.slow)]
)
def test_a_large_gallery_fits_in_ten_megabytes(tmp_path: Path, count: int, size: tuple[int, int], squares: int) -> None:
    items = gallery(count=count, size=size)
    names = [f"m{i}" for i in range(16)]
    found = [prediction(1, square(x % 8 * 7, x // 8 * 7, 6, size)) for x in range(squares)]
    for item in items:
        item.predictions.update(dict.fromkeys(names, found))
    path = write_report(tmp_path, Results.of(results({n: method(0.3, 0.1, ["a"], aware=False) for n in names})), items)
    assert path.stat().st_size < 10_000_000
    page = Page(path.read_text())
    assert len(page.named("img")) == count  # each image once, whatever the number of methods
    layers = [a["class"] for a in page.named("g") if (a.get("class") or "").startswith("layer ")]
    assert len(layers) == 17 * count


def test_gallery_says_what_each_layer_shows(tmp_path: Path) -> None:
    page = report(tmp_path, results(), gallery(count=1))
    assert [a["alt"] for a in page.named("img")] == ["a.png"]
    assert [a.get("aria-label") for a in page.named("button") if a.get("class") == "enlarge"] == ["Enlarge a.png"]
    # The crowd is no object; the file of boxes has nothing to draw.
    text = re.sub(r"<[^>]+>", "", (tmp_path / "report.html").read_text())
    for said in ("truth: 1 object\n", "mask_rcnn: 1 object (1 hit), F1 1.00\n", "kmeans: 0 objects, 1 missed, F1 –\n"):
        assert said in text
    assert "boxes: " not in text.split("Gallery")[-1].split("All numbers")[0]


@pytest.mark.parametrize(("images", "said"), [(9, "2 of 9 images, among them"), (2, "All 2 images of these data. ")])
def test_gallery_says_how_many_images_there_are(tmp_path: Path, images: int, said: str) -> None:
    content = results()
    content["data"]["images"] = images
    page = report(tmp_path, content, gallery(count=2))
    assert said in "".join(page.texts["p"])
    assert [a["data-total"] for a in page.named("p") if "data-total" in a] == [str(images)]


def test_gallery_opens_on_the_reference(tmp_path: Path) -> None:
    methods = {
        name: method(quality, 0.1, ["a"], aware=False) for name, quality in (("mask_rcnn", 0.2), ("kmeans", 0.3))
    }
    for reference, place in (("mask_rcnn", "1"), (None, "0")):
        page = report(tmp_path, results(methods) | {"reference": reference}, gallery())
        assert [a["value"] for a in page.named("input") if a["type"] == "radio" and "checked" in a] == [
            place,
            "all",
            "outcome",
        ]


def test_report_replaces_an_older_one(tmp_path: Path) -> None:
    write_report(tmp_path, Results.of(results()), [])
    write_report(tmp_path, Results.of(results({"kmeans": method(0.2, 0.1, [], aware=False)})), [])
    assert "mask_rcnn" not in (tmp_path / "report.md").read_text()
    assert {p.name for p in tmp_path.iterdir()} == FILES


def test_a_folder_that_is_a_file_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SegtrainError, match=r"file: cannot write the report .*output_dir"):
        write_report(tmp_path / "file", Results.of(results()), [])


def test_headline_fits_a_terminal_of_80_columns() -> None:
    console = Console(width=80, file=StringIO(), color_system=None)
    content = results()
    content["methods"]["threshold_local[red]"] = content["methods"].pop("kmeans")
    console.print(terminal_table(Results.of(content)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "threshold_local[red]" in text
    assert "0.500" in text
    assert "…" not in text


def test_headline_keeps_its_numbers_beside_a_long_name() -> None:
    console = Console(width=80, file=StringIO(), color_system=None)
    content = results()
    names = [f"mask_rcnn/a_run_whose_name_is_too_long_for_a_terminal_of_80_columns_seed_{seed}" for seed in (0, 1)]
    content["methods"] |= dict.fromkeys(names, content["methods"]["mask_rcnn"])
    console.print(terminal_table(Results.of(content)))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert sum(line.split()[1:] == ["0.500", "0.490", "0.430", "0.420", "0.400", "200.0"] for line in lines) == 3
    names_shown = "".join(line.split()[0] for line in lines if line.strip())  # over several lines
    assert all(name in names_shown for name in names)
