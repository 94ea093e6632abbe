"""Command that checks a COCO data set before a training or an evaluation.

    segtrain check ANNOTATIONS IMAGES [--html PAGE.html] [--fix OUT.json] [--json] [--against OTHER.json]

Exits with 1 if there are errors, at which ``data.check=strict`` stops.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast, get_args

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtrain.console import (
    CommandParser,
    Heartbeat,
    positive_number,
    print_error,
    print_text,
    progress,
    whole_number,
)
from segtrain.data.check.annotation_checks import FINDS_CROSSINGS
from segtrain.data.check.fix import require_free, write_fixed
from segtrain.data.check.image_checks import FormatCount
from segtrain.data.check.run import CheckReport, CheckSettings, open_checked, run_checks
from segtrain.data.check.set_checks import CategoryCount
from segtrain.data.coco.index import CocoIndex
from segtrain.data.coco.issues import ISSUE_TYPES, Issue
from segtrain.data.coco.joined_files import annotation_file
from segtrain.data.coco.json_file import FileError
from segtrain.data.coco.rules import AnnotationRules, BoxesWithoutMasks, Crowd, Frame, Witnesses
from segtrain.data.images.reading import PAGES, check_channels
from segtrain.data.storage.address import Location, expand_location
from segtrain.data.storage.disk_cache import DiskCache
from segtrain.data.storage.image_store import ImageFolder
from segtrain.data.storage.open_folder import open_folder
from segtrain.errors import SegtrainError
from segtrain.io import expand_path, printable, unread_output_discarded, without_controls
from segtrain.masks.parse import Rings
from segtrain.values import IntensityRule, IntensitySetting

_WIDTH = 140  # characters
_MAX_DETS = 100  # that of configs/data/coco.yaml
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class CheckedSet:
    """Data set that has been checked.

    Attributes:
        settings: settings of the check.
        report: result of the check.
        index: the data set; None if nothing of it can be used.
    """

    settings: CheckSettings
    report: CheckReport
    index: CocoIndex | None


class Page(Protocol):
    """Interface of the writer of the page of ``--html``, which is in a higher layer of the package."""

    def require_writable(self, path: Path) -> None:
        """Raise an error if the page would replace a file that is not an earlier page."""

    def open_network(self, settings: CheckSettings, checkpoint: Path | None, experiment: str | None) -> Any:
        """Load the network that the options name, and take its ``max_dets`` for the check; None without one."""

    def advise(self, checked: CheckedSet, network: Any) -> dict[str, Any]:
        """Compare the data with a network."""

    def write_page(self, path: Path, checked: CheckedSet, network: Any, advice: Mapping[str, Any] | None) -> None:
        """Write the page."""


def main(arguments: Sequence[str] | None = None, page: Page | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: arguments of the command; None for those of the process.
        page: writer of the page of ``--html``; None if there is none.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its encoding may lack characters of file and category names
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        options.annotations = annotation_file(options.files)
        if options.fix:
            require_free(options.fix, options.annotations)
        _require_page(options, page)
        settings, network = _settings(options), None
        if page is not None:
            network = page.open_network(settings, options.checkpoint, options.experiment)
        if network is not None:
            if options.max_dets is None:
                settings = replace(settings, max_dets=network.max_dets)
            else:
                network = replace(network, max_dets=options.max_dets)
        checked = _inspect(settings)
        report, index = checked.report, checked.index
        if not options.json:
            with unread_output_discarded():
                _show(report, options)
        advice = None
        if network is not None and index is not None and page is not None:
            advice = page.advise(checked, network)
            if not options.json:
                with unread_output_discarded():
                    _show_advice(advice)
        if options.html and page is not None:
            page.write_page(options.html, checked, network, advice)
        fixed = None
        if options.fix and index:
            if index.rules.frame == "stored" and index.issues["frame"].count:  # the table shows the file as it is
                index, _ = open_checked(replace(settings, rules=index.rules._replace(frame="auto")))
            fixed = write_fixed(index, report.lost_images, options.fix)
    except (SegtrainError, OSError) as error:
        print_error(error)
        return 1
    if options.json:
        written: dict[str, Any] = {} if fixed is None else {"fixed": asdict(fixed)}
        written |= {} if advice is None else {"advice": advice}
        print_text(json.dumps(_as_values(report, options) | written, indent=2, default=str))
    elif fixed:
        print_text(fixed)
    elif options.fix:
        print_text("Nothing of it can be used, so nothing is written.")
    return 1 if report.errors else 0


def _require_page(options: argparse.Namespace, page: Page | None) -> None:
    """Check the options of the page, before the data are checked."""
    if page is None and (options.html or options.checkpoint or options.experiment):
        raise SegtrainError(
            "--html, --model and --checkpoint are options of segtrain check; python -m segtrain.data.check lacks them"
        )
    if options.html and page is not None:
        page.require_writable(options.html)


def _settings(options: argparse.Namespace) -> CheckSettings:
    return CheckSettings(
        annotations=options.annotations,
        images=_folder(options.images, options),
        against=None if options.against is None else annotation_file(options.against),
        against_images=None if options.against_images is None else _folder(options.against_images, options),
        exif=options.exif,
        max_dets=_MAX_DETS if options.max_dets is None else options.max_dets,
        max_pixels=options.max_image_pixels,
        pages=options.pages,
        channels=None if options.channels is None else check_channels(options.channels, "--channels"),
        rules=AnnotationRules(*(getattr(options, key) for key in AnnotationRules._fields)),
        intensity=options.intensity,
    )


def _folder(location: Location, options: argparse.Namespace) -> ImageFolder:
    cache = DiskCache.open(options.cache_gb) if options.cache == "disk" else None
    folder = open_folder(location, cache)
    if folder is None:
        raise SegtrainError(f"{location}: no such image folder; give the folder of the images")
    return folder


def _inspect(settings: CheckSettings) -> CheckedSet:
    console = Console(stderr=True)
    heartbeat = Heartbeat(lambda line: print(line, file=sys.stderr))
    with ExitStack() as stages:

        def advance(name: str, steps: int) -> Callable[[], None]:
            stages.close()  # one stage at a time
            stage = progress(name, steps, console=console, transient=True, heartbeat=heartbeat)
            return stages.enter_context(stage).advance

        try:
            return CheckedSet(settings, *run_checks(settings, advance))
        except FileError as error:
            if error.path != settings.annotations:
                raise
            report = CheckReport([Issue(error.kind, 1, [str(error)])], {}, [], {}, [])
            return CheckedSet(settings, report, None)


def _show(report: CheckReport, options: argparse.Namespace) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console.width = _WIDTH
    table = Table("severity", "count", "issue, and what was or can be done", box=box.SIMPLE_HEAD, padding=(0, 1, 1, 1))
    table.add_column("first examples", overflow="fold")
    for issue in report.issues:
        kind = ISSUE_TYPES[issue.kind]
        what = Text.assemble(kind.title, "\n", (kind.action, "dim"))
        table.add_row(
            Text(kind.severity, _COLOURS[kind.severity]),
            f"{issue.count:,}",
            what,
            Text(without_controls("\n".join(issue.examples))),
        )
    console.print(table if report.issues else "nothing found")
    if not FINDS_CROSSINGS:
        console.print("Polygons were not checked for outlines that cross themselves: pip install shapely")
    if report.formats:
        _show_formats(report.formats, console)
    if report.categories:
        _show_categories(report.categories, console)
    if counts := report.counts:
        line = (
            f"{options.annotations}: {counts['images']} images, {counts['annotations']} annotations = "
            f"{counts['used']} used + {counts['crowd']} crowd + {counts['dropped']} left out; "
            f"{counts['repaired']} repaired"
        )
        if report.lost_images:
            line += f"; {len(report.lost_images)} of the images cannot be used"
        console.print(Text(without_controls(line)), soft_wrap=True)
    if report.intensity:
        console.print(Text(f"intensity: {report.intensity}"), soft_wrap=True)
    errors = f"{report.errors} error{'' if report.errors == 1 else 's'}"
    console.print(Text(errors, _COLOURS["error"] if report.errors else "green"))


def _show_advice(advice: Mapping[str, Any]) -> None:
    """Print what is to be done so that data and network suit each other."""
    console = Console(highlight=False)
    if advice["facts"]:
        console.print(Text(f"{advice['model']}: {advice['facts']}"), soft_wrap=True)
    if not advice["lines"]:
        console.print(Text(f"Nothing to change for {advice['model']}."), soft_wrap=True)
    for line in advice["lines"]:
        console.print(Text(f"advice for {advice['model']}: {line}"), soft_wrap=True)


def _show_formats(formats: Sequence[FormatCount], console: Console) -> None:
    table = Table("format", "images", "read", box=box.SIMPLE_HEAD)
    for entry in formats:
        table.add_row(Text(f"{entry.format}, {entry.content}"), f"{entry.count:,}", Text(entry.how or "as it is"))
    console.print(table)


def _show_categories(categories: Sequence[CategoryCount], console: Console) -> None:
    """Print the category histogram; the length of a bar is relative to the most frequent category."""
    table = Table("category", "id", "objects", "images", "", box=box.SIMPLE_HEAD)
    most = max(category.objects for category in categories) or 1
    for category in sorted(categories, key=lambda category: -category.objects):
        full, sliver = "#|" if console.options.ascii_only else "█▏"
        bar = full * round(30 * category.objects / most) or (sliver if category.objects else "")
        cells = (printable(category.name), str(category.id), f"{category.objects:,}", f"{category.images:,}", bar)
        table.add_row(*map(Text, cells))
    console.print(table)


def _as_values(report: CheckReport, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "annotations": str(options.annotations),
        "images": str(options.images),
        "errors": report.errors,
        "findings": [
            {
                "kind": issue.kind,
                "severity": issue.severity,
                "finding": ISSUE_TYPES[issue.kind].title,
                "count": issue.count,
                "examples": issue.examples,
                "action": ISSUE_TYPES[issue.kind].action,
            }
            for issue in report.issues
        ],
        "counts": report.counts,
        "formats": [asdict(entry) for entry in report.formats],
        "categories": [asdict(category) for category in report.categories],
        "intensity": report.intensity,
    }


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="segtrain check",
        description="Check a COCO data set. The exit code is 1 if there are errors, which training and evaluation "
        "refuse unless data.check is set to warn or off.",
    )
    several = "COCO json, or several of one data set"
    parser.add_argument("files", type=expand_location, nargs="+", metavar="ANNOTATIONS", help=several)
    parser.add_argument("images", type=expand_location, metavar="IMAGES", help="folder of its images, or its address")
    parser.add_argument(
        "--fix", type=expand_path, metavar="OUT.json", help="write a corrected copy, and a log beside it"
    )
    parser.add_argument("--html", type=expand_path, metavar="FILE", help="write a page with the first images as read")
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--checkpoint",
        type=expand_path,
        metavar="RUN",
        help="advice for its network; with --html: images as it sees them",
    )
    network.add_argument(
        *("--model", "--experiment"),
        dest="experiment",
        metavar="EXPERIMENT",
        help="advice for the network of an experiment, such as nuclei; with --html: images as it sees them",
    )
    parser.add_argument("--json", action="store_true", help="print the issues as json")
    parser.add_argument(
        "--against", type=expand_location, metavar="OTHER.json", help="look for images shared with this json"
    )
    parser.add_argument(
        "--against-images",
        type=expand_location,
        metavar="DIR",
        help="image folder of OTHER.json (default: found near IMAGES)",
    )
    # Defaults as in configs/data/coco.yaml.
    choices = {
        "exif": ("auto", "apply", "ignore"),
        "pages": PAGES,
        "boxes_without_masks": get_args(BoxesWithoutMasks),
        "crowd": get_args(Crowd),
        "rings": get_args(Rings),
        "witnesses": get_args(Witnesses),
        "cache": ("none", "disk"),
    }
    for key, values in choices.items():
        about = f"value of data.{key} in training (default: %(default)s)"
        parser.add_argument(f"--{key.replace('_', '-')}", choices=values, default=values[0], help=about)
    intensity = "value of data.intensity in training, a range as LOW,HIGH (default: %(default)s)"
    parser.add_argument("--intensity", type=_intensity, default="auto", metavar="RULE", help=intensity)
    parser.add_argument(
        "--channels",
        type=_numbers,
        metavar="N,N,N",
        help="value of data.channels in training, such as 2,1,0 (default: as the files declare)",
    )
    about = "value of data.frame in training (default: %(default)s); --fix applies what it finds"
    parser.add_argument("--frame", type=_frame, default="stored", metavar="{stored,auto,H,W}", help=about)
    about = "value of data.cache_gb in training (default: %(default)s)"
    parser.add_argument("--cache-gb", type=positive_number, default=50, metavar="N", help=about)
    about = f"value of data.max_dets in training (default: that of --model or --checkpoint, or {_MAX_DETS})"
    parser.add_argument("--max-dets", type=whole_number, metavar="N", help=about)
    about = "value of data.max_image_pixels in training (default: %(default)s)"
    parser.add_argument("--max-image-pixels", type=whole_number, default=200_000_000, metavar="N", help=about)
    return parser


def _numbers(text: str) -> list[int]:
    parts = text.strip("[]").replace(" ", "").split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text} are no whole numbers from 0")
    return [int(part) for part in parts]


def _intensity(text: str) -> IntensitySetting:
    if text in get_args(IntensityRule):
        return cast(IntensityRule, text)
    try:
        low, high = map(float, text.strip("[]").split(","))
    except ValueError:
        choices = ", ".join(get_args(IntensityRule))
        raise argparse.ArgumentTypeError(f"{text} is neither {choices} nor a range as LOW,HIGH") from None
    return low, high


def _frame(text: str) -> str | list[int]:
    if text in get_args(Frame):
        return text
    sides = text.strip("[]").split(",")
    if len(sides) != 2:
        raise argparse.ArgumentTypeError(f"{text} is neither stored nor auto, nor a size H,W")
    return [whole_number(side.strip()) for side in sides]
