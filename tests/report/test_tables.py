"""Tables and sentences: marks and margins against brute force."""

import math

from hypothesis import given
from hypothesis import strategies as st

from segtrain.benchmark.results import Results
from segtrain.metrics.registry import METRICS
from segtrain.report.html import html_report
from segtrain.report.labels import place_labels
from segtrain.report.markdown import markdown_report
from segtrain.report.sections.about import notes
from segtrain.report.sections.categories import category_table, tracks_agree
from segtrain.report.sections.cost import cost_table
from segtrain.report.sections.curves import f1_table
from segtrain.report.sections.headline import difference_table, headline_table
from segtrain.report.tables import SPEED, metric_column, track_table
from segtrain.report.text import p_text
from tests.helpers.report_examples import METRICS as KEYS
from tests.helpers.report_examples import complete, glossary, method, results

fractions = st.one_of(st.none(), st.just(math.nan), st.floats(0, 1), st.sampled_from([0.5, 0.5001, 0.4999]))


@given(st.lists(st.tuples(fractions, fractions, st.one_of(st.none(), st.floats(1e-4, 100))), max_size=5))
def test_marks_are_the_best_of_what_is_shown(numbers: list[tuple[float | None, float | None, float | None]]) -> None:
    methods = {}
    for i, (ap, miou, seconds) in enumerate(numbers):
        methods[f"m{i}"] = method(0.5, seconds, [], aware=False)
        methods[f"m{i}"]["class_agnostic"].update(mask_ap=ap, miou=miou)
    table = track_table(Results.of(results(methods)), "class_agnostic")
    for place, key in ((0, "mask_ap"), (8, "miou")):
        raw = {name: m["class_agnostic"][key] for name, m in methods.items()}
        shown = {n: f"{v:.3f}" for n, v in raw.items() if v is not None and not math.isnan(v)}
        top = max(shown.values(), default="")
        best = {n for n, text in shown.items() if text == top} if len(set(shown.values())) > 1 else set()
        assert {row.method for row in table.rows if row.cells[place].best} == best
        assert {row.method: row.cells[place].text for row in table.rows} == {n: shown.get(n, "–") for n in methods}
    times = {f"m{i}": round(t * 1000, 1) for i, (_, _, t) in enumerate(numbers) if t is not None}
    fastest = {n for n, t in times.items() if t == min(times.values())} if len(set(times.values())) > 1 else set()
    assert {row.method for row in table.rows if row.cells[-1].best} == fastest


def test_columns_are_all_numbers_of_a_track_then_the_time() -> None:
    table = track_table(Results.of(results()), "class_agnostic")
    assert tuple(c.key for c in table.columns) == (*KEYS, "seconds")
    assert table.columns == (*(metric_column(metric) for metric in METRICS if metric.key in KEYS), SPEED)


def test_rows_go_from_best_to_worst_and_boxes_come_last() -> None:
    assert Results.of(results()).ranked == ["mask_rcnn", "threshold_otsu", "kmeans", "boxes"]


def test_class_aware_table_holds_only_methods_that_know_categories() -> None:
    assert [row.method for row in track_table(Results.of(results()), "class_aware").rows] == ["mask_rcnn", "boxes"]


def test_category_table_groups_by_category_and_marks_within() -> None:
    table = category_table(Results.of(results()))
    assert [(row.category, row.method) for row in table.rows] == [
        ("round", "mask_rcnn"), ("round", "boxes"), ("lobed", "mask_rcnn"), ("lobed", "boxes"),
    ]  # fmt: skip
    box_ap = [column.key for column in table.columns].index("box_ap")
    assert [row.cells[box_ap].best for row in table.rows] == [True, False, True, False]
    assert not any(row.cells[0].best for row in table.rows)  # a count of objects is no achievement


def test_cost_table_shows_milliseconds_and_counts() -> None:
    rows = {row.method: [cell.text for cell in row.cells] for row in cost_table(Results.of(results())).rows}
    assert rows["mask_rcnn"] == ["4.0", "200.0", "200.0", "40", "1"]
    assert rows["boxes"] == ["4.0", "–", "–", "40", "1"]


def test_costs_that_nobody_has_take_no_column() -> None:
    table = cost_table(Results.of(complete()))
    assert [c.key for c in table.columns[3:-2]] == ["training_minutes", "training_objects"]
    texts = {row.method: [cell.text for cell in row.cells[3:-2]] for row in table.rows}
    assert texts["mask_rcnn"] == ["9.8", "2311"]
    assert texts["kmeans"] == ["–", "–"]


def test_costs_stand_before_counts_and_memory_is_in_mib() -> None:
    content = complete()
    content["methods"]["kmeans"]["costs"] |= {
        "tuning_seconds": 60.2, "training_images": 60, "training_objects": 2063, "peak_memory_gib": 0.0293
    }  # fmt: skip
    table = cost_table(Results.of(content))
    assert [column.title for column in table.columns] == [
        "read, ms", "segment, ms", "p95, ms", "train, min", "tuning, s", "train images", "train objects", "memory, MiB",
        "detections", "empty images",
    ]  # fmt: skip
    row = next(row for row in table.rows if row.method == "kmeans")
    assert [cell.text for cell in row.cells[3:]] == ["–", "60", "60", "2063", "30", "40", "1"]


def test_oracles_rank_last_and_take_no_mark() -> None:
    content = complete()
    assert Results.of(content).ranked[-1] == "kmeans_oracle"  # of all rows it has the highest numbers
    assert Results.of(content).contenders == Results.of(content).ranked[:-1]
    for table in (
        headline_table(Results.of(content)),
        track_table(Results.of(content), "class_agnostic"),
        cost_table(Results.of(content)),
    ):
        assert [row.method for row in table.rows if row.upper_bound] == ["kmeans_oracle"]
        assert not any(cell.best for cell in table.rows[-1].cells)
    best = [row.method for row in headline_table(Results.of(content)).rows if row.cells[0].best]
    assert best == ["mask_rcnn"]


def test_headline_shows_intervals_and_the_difference_to_mask_rcnn() -> None:
    table = headline_table(Results.of(complete()))
    rows = {row.method: row.cells for row in table.rows}
    assert [c.title for c in table.columns][-3:] == ["ms/image", "Δ mask AP", "p"]
    assert rows["mask_rcnn"][0].details == ("[0.400, 0.550]",)
    assert rows["boxes"][0].details == ()
    assert [c.text for c in rows["mask_rcnn"][-2:]] == ["–", "–"]
    assert (rows["kmeans"][-2].text, rows["kmeans"][-2].details) == ("−0.390", ("[−0.450, −0.330]",))
    assert rows["kmeans"][-1].text == "< 0.001"


def test_headline_without_resamples_has_neither() -> None:
    table = headline_table(Results.of(results()))
    assert [c.key for c in table.columns] == [
        "mask_ap",
        "mask_ap50",
        "box_ap",
        "miou",
        "f1_50",
        "pq",
        "boundary_iou",
        "seconds",
    ]
    assert not any(cell.details for row in table.rows for cell in row.cells)
    assert difference_table(Results.of(results())) is None


def test_f1_at_a_few_thresholds() -> None:
    content = complete()
    content["methods"]["kmeans"]["class_agnostic"]["f1_curve"]["f1"][8] = None
    table = f1_table(Results.of(content))
    assert table is not None
    assert [c.title for c in table.columns] == ["F1 at 0.50", "F1 at 0.60", "F1 at 0.70", "F1 at 0.80", "F1 at 0.90"]
    # The file of boxes has none; the curve falls by a twelfth at each step.
    assert {row.method: [cell.text for cell in row.cells] for row in table.rows} == {
        "mask_rcnn": ["0.900", "0.733", "0.567", "0.400", "0.233"],
        "threshold_otsu": ["0.900", "0.733", "0.567", "0.400", "0.233"],
        "kmeans": ["0.900", "0.733", "0.567", "0.400", "–"],
        "kmeans_oracle": ["0.900", "0.733", "0.567", "0.400", "0.233"],
    }
    assert [row.upper_bound for row in table.rows] == [False, False, False, True]
    assert f1_table(Results.of(results())) is None


def test_both_reports_have_f1_in_numbers() -> None:
    for report, missing in ((markdown_report, "F1 at 0.60"), (html_report, "F1 over IoU in numbers")):
        assert missing in report(Results.of(complete()))
        assert missing not in report(Results.of(results()))


def test_every_difference_has_its_p() -> None:
    table = difference_table(Results.of(complete()))
    assert table is not None
    assert [c.title for c in table.columns] == ["Δ mask AP"]
    assert {row.method: row.cells[0].details for row in table.rows} == {
        "threshold_otsu": ("[−0.220, −0.170]", "p = 0.61"),
        "kmeans": ("[−0.450, −0.330]", "p < 0.001"),
        "kmeans_oracle": ("[+0.310, +0.480]", "p = 0.034"),
    }


@given(shown=st.tuples(st.integers(0, 1000), st.integers(0, 1000)), hidden=st.tuples(*[st.floats(-0.49, 0.49)] * 2))
def test_a_difference_is_that_of_the_numbers_shown(shown: tuple[int, int], hidden: tuple[float, float]) -> None:
    """In both tables; nothing has the sign of no number shown, and the minus is that of the other tables."""
    content = complete()
    own, standard = ((number + rest) / 1000 for number, rest in zip(shown, hidden, strict=True))
    for name, value in (("kmeans", own), ("mask_rcnn", standard)):
        content["methods"][name]["class_agnostic"]["mask_ap"] = value
    content["comparisons"]["kmeans"]["mask_ap"]["difference"] = own - standard
    expected = f"{(shown[0] - shown[1]) / 1000:+.3f}".replace("-", "−")
    headline, differences = headline_table(Results.of(content)), difference_table(Results.of(content))
    assert differences is not None
    (row,) = (row for row in headline.rows if row.method == "kmeans")
    assert row.cells[-2].text == expected
    (row,) = (row for row in differences.rows if row.method == "kmeans")
    assert row.cells[0].text == expected


def test_a_p_that_can_be_no_less_is_shown_as_a_bound() -> None:
    content = complete()
    content["comparisons"]["kmeans"]["mask_ap"] |= {"p": 12 / 1001, "least_p": 12 / 1001}
    content["comparisons"]["threshold_otsu"]["mask_ap"] |= {"p": 24 / 1001, "least_p": 12 / 1001}
    headline, differences = headline_table(Results.of(content)), difference_table(Results.of(content))
    assert differences is not None
    shown = {row.method: (row.cells[-1].text,) for row in headline.rows}
    said = {row.method: row.cells[0].details[-1:] for row in differences.rows}
    assert (shown["kmeans"], shown["threshold_otsu"]) == (("≤ 0.012",), ("0.024",))
    assert (said["kmeans"], said["threshold_otsu"]) == (("p ≤ 0.012",), ("p = 0.024",))


@given(st.integers(1, 5000), st.integers(1, 20), st.data())
def test_rounding_leaves_p_on_its_side_of_the_limit(resamples: int, rows: int, data: st.DataObject) -> None:
    further = data.draw(st.integers(0, resamples))
    p, least = (min(1.0, rows * (1 + count) / (resamples + 1)) for count in (further, 0))
    text = p_text(p, least)
    shown = float(text.strip("<≤ "))
    assert text.startswith(("<", "≤")) or abs(shown - p) < 0.005 + 1e-12  # half of the last digit
    assert not text.startswith("<") or p < shown
    assert not text.startswith("≤") or p <= shown < p + 0.01
    assert (p < 0.05) == (shown < 0.05 or text == "< 0.05")
    assert text.startswith("≤") <= (further == 0)


def test_p_has_the_digits_it_deserves() -> None:
    assert [p_text(p) for p in (10 / 201, 0.05, 0.0504)] == ["< 0.05", "0.050", "0.050"]
    assert [p_text(p, p) for p in (0.0009, 0.0124, 0.0496, 0.0594, 0.119, 1.0)] == [
        "< 0.001", "≤ 0.013", "< 0.05", "≤ 0.060", "≤ 0.12", "1.00",
    ]  # fmt: skip
    assert [p_text(p) for p in (0.0002, 0.001, 0.0341, 0.5, 1.0)] == ["< 0.001", "0.001", "0.034", "0.50", "1.00"]


def test_tracks_agree_only_when_they_show_the_same() -> None:
    content = results()
    assert not tracks_agree(Results.of(content))
    for entry in content["methods"].values():
        entry["class_aware"] = entry["class_agnostic"]
    assert tracks_agree(Results.of(content))
    content["methods"]["kmeans"]["class_aware"] = None  # it knows no categories, so it says nothing about them
    assert tracks_agree(Results.of(content))
    for entry in content["methods"].values():
        entry["class_aware"] = None
    assert not tracks_agree(Results.of(content))


def test_definitions_name_the_rows_they_speak_of() -> None:
    text = glossary(results())
    assert "0.5 for mask_rcnn, boxes; 0 for kmeans, threshold_otsu" in text["Operating point"]
    assert text["Textbook rows"].startswith("kmeans: ")
    assert text["Robust rows"].startswith("threshold_otsu: ")
    assert "the 100 best-scored" in text["Operating point"]
    only = glossary(results({"mask_rcnn": method(0.5, 1, [], aware=True)}))
    assert not {"Textbook rows", "Robust rows", "Scores of classical methods"} & only.keys()


def test_definitions_say_what_tuned_rows_and_oracles_are() -> None:
    content = complete()
    content["methods"]["kmeans"]["family"] = "tuned"
    text = glossary(content)
    assert text["Oracle rows"].startswith("kmeans_oracle: ")
    assert text["Tuned rows"].startswith("kmeans: ")
    assert not {"Oracle rows", "Tuned rows"} & glossary(results()).keys()


def test_definitions_say_what_intervals_and_p_are_where_there_are_some() -> None:
    content = complete() | {"bootstrap": {"resamples": 1000, "seed": 0}}
    text = glossary(content)
    assert "drawn 1,000 times" in text["95 % interval"]
    assert "minus that of mask_rcnn" in text["Δ, p"]
    assert "95 % interval" in glossary(content | {"comparisons": {}})
    assert "Δ, p" not in glossary(content | {"comparisons": {}})
    assert not {"95 % interval", "Δ, p"} & glossary(complete() | {"bootstrap": {"resamples": 0, "seed": 0}}).keys()


def test_the_report_says_where_a_threshold_comes_from() -> None:
    content = results()
    assert "training split" not in glossary(content)["Operating point"]
    content["checkpoints"] = {"mask_rcnn": {"path": "best.pt", "score_threshold": 0.35, "threshold_images": 60}}
    assert "own of mask_rcnn, 0.35, had the highest F1 on 60 images" in glossary(content)["Operating point"]


def test_notes_pass_warnings_on_and_add_what_the_numbers_hide() -> None:
    content = results()
    content["warnings"] = ["Look here."]
    assert notes(Results.of(content)) == [
        "Look here.",
        "1 annotation could not be used and was dropped.",
    ]


@given(st.lists(st.tuples(st.floats(0, 800), st.floats(0, 300)), max_size=8))
def test_every_point_gets_a_label(spots: list[tuple[float, float]]) -> None:
    labels = place_labels(spots, [f"name{i}" for i in range(len(spots))], [None] * len(spots), (0, 0, 800, 300))
    assert len(labels) == len(spots)
    assert all(label.anchor in ("start", "end", "middle") for label in labels)


def test_crowded_labels_do_not_overlap() -> None:
    spots = [(100.0 + 3 * i, 150.0 + 2 * i) for i in range(5)]
    labels = place_labels(spots, ["threshold"] * 5, [None] * 5, (0, 0, 400, 300))
    boxes = []
    for label in labels:
        start = {"start": label.x, "end": label.x - 60, "middle": label.x - 30}[label.anchor]
        boxes.append((start, label.y - 10, start + 60, label.y + 3))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
