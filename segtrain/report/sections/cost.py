"""Section on speed and cost: time against quality, and the costs of training and tuning of each method."""

from segtrain.benchmark.results import MethodScores, Results
from segtrain.report.blocks import Block, Charts, Section, Term
from segtrain.report.charts import NARROW, WIDE, Axis, Chart, Point, frontier, series_styles
from segtrain.report.tables import SPEED, Cell, Column, Row, Table, Values, cell_reasons, explain, method_table
from segtrain.report.text import number_text, time_text

_COLUMNS = (
    Column("read", "read, ms", "Median milliseconds to read an image", None, 1, 1000.0),
    Column("segment", "segment, ms", "Median milliseconds to segment an image", "low", 1, 1000.0),
    Column("slow", "p95, ms", "95th percentile of the milliseconds to segment an image", "low", 1, 1000.0),
    Column("training_minutes", "train, min", "Minutes that training took", None, 1),
    Column(
        "tuning_seconds",
        "tuning, s",
        "Seconds that the search for settings took: on training images; an upper bound's, on all evaluated images",
        None,
        0,
    ),
    Column("training_images", "train images", "Training images used, including those without objects", None, 0),
    Column("training_objects", "train objects", "Labelled objects in them", None, 0),
    Column(
        "peak_memory_gib",
        "memory, MiB",
        "Peak memory above that at the method's start, with its network loaded",
        None,
        0,
        1024.0,
    ),
    Column("detections", "detections", "Detections on all images, whatever their score", None, 0),
    Column("without", "empty images", "Images without any detection", None, 0),
)
_OPTIONAL = ("training_minutes", "tuning_seconds", "training_images", "training_objects", "peak_memory_gib")


def cost(results: Results) -> Section:
    """Show time against quality, and the table of costs."""
    blocks: list[Block] = []
    if chart := speed_chart(results):
        caption = (
            "Class-agnostic mask AP over the median time to segment one image. Up and to the left is better; no method "
            "lies above the dotted line."
        )
        untimed = [name for name in results.contenders if results.methods[name].seconds is None]
        if untimed:
            caption += f" Not timed, so not shown: {', '.join(untimed)}."
        blocks.append(Charts([chart], caption))
    blocks.append(cost_table(results))
    timing = Term(SPEED.title, "Median time to segment one image, after warm-up; reading and scoring are timed apart.")
    return Section("speed", "Speed and cost", blocks, definitions=[timing])


def speed_chart(results: Results) -> Chart | None:
    """Draw mask AP over time per image; None if no method has both. Upper bounds have no time worth comparing."""
    styles, points = series_styles(results.ranked, results.oracles), []
    for name in results.contenders:
        track, time = results.methods[name].class_agnostic, results.methods[name].seconds
        if track and time and (value := track.metrics.get("mask_ap")) is not None:
            title = f"{name}: {time_text(time)} per image, mask AP {number_text(value)}"
            points.append(Point(time, value, styles[name], title, name, y_interval=track.intervals.get("mask_ap")))
    if not points:
        return None
    return Chart(
        "Speed against quality",
        Axis("time per image (logarithmic)", log=True),
        Axis("mask AP"),
        [frontier(points), *points],
        (WIDE, NARROW),
    )


def cost_table(results: Results) -> Table:
    """Make the table of times, of the costs of training and tuning, and of the numbers of detections."""
    values = {name: _values(method) for name, method in results.methods.items()}
    columns = [c for c in _COLUMNS if c.key not in _OPTIONAL or any(v[c.key] is not None for v in values.values())]
    untimed = cell_reasons(results, "class_agnostic")

    def why(row: Row, column: Column, cell: Cell) -> str:
        if cell.value is not None:
            return ""
        return untimed.get((row.method, SPEED.key)) or _unknown(column.key, results.methods[row.method])

    table = method_table(
        results,
        columns,
        lambda name, _: values[name],
        "Time and counts",
        "Time of each part, memory, training data, and numbers of detections. Warm-up is left out.",
    )
    return explain(table, why)


def _values(method: MethodScores) -> Values:
    data, segmentation = method.timing.data, method.timing.segmentation
    return {
        **{key: getattr(method.costs, key) for key in _OPTIONAL},
        "read": data.median if data else None,
        "segment": segmentation.median if segmentation else None,
        "slow": segmentation.p95 if segmentation else None,
        "detections": method.counts.detections,
        "without": method.counts.images_without_detections,
    }


def _unknown(key: str, method: MethodScores) -> str:
    """Explain why a cost of a method that was run here is not known."""
    if key == "tuning_seconds":
        return "No settings were searched for this method."
    if key.startswith("training"):
        return "The checkpoint does not say." if not method.is_classical else "This method is not trained."
    return "Not measured."
