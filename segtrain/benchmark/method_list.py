"""Methods of an evaluation: built from its configuration, those that can segment its images, and the reference."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from segtrain import distributed
from segtrain.benchmark.checkpoints import EvaluatedCheckpoint, loads_checkpoint
from segtrain.benchmark.evaluated_runs import methods_of
from segtrain.benchmark.fingerprints import of_node
from segtrain.benchmark.methods import Method, OracleMethod, ResultFile, TrainedMethod, TunedMethod
from segtrain.benchmark.oracle import Oracle
from segtrain.benchmark.run_names import SEPARATOR
from segtrain.benchmark.runner import Benchmark
from segtrain.benchmark.search import Tuned
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.result_ids import ResultIds
from segtrain.data.images.large_image import large_images
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.io import printable
from segtrain.nodes import build, nearest
from segtrain.pool import Advance, in_processes
from segtrain.score_thresholds import GivenThreshold, ScoreThresholds
from segtrain.segmenters import Segmenter


def build_methods(
    config: Mapping[str, Any],
    checkpoints: Sequence[EvaluatedCheckpoint],
    benchmark: Benchmark,
    device: str,
    processes: int = 1,
) -> list[Method]:
    """Build all methods of an evaluation before the first one runs, so that errors of any method occur at once.

    Args:
        config: configuration of evaluate.py; its node ``data`` with the checkpoint's values filled in.
        checkpoints: the evaluated checkpoints; the first one without a checkpoint if there is none.
        benchmark: the images and their ground truth.
        device: device of the networks, such as "cpu" or "cuda:0".
        processes: number of forks of this process that share the result files.

    Returns:
        Result files first, then segmenters, in the order of the configuration. Of several processes, the first alone
        reads result files.

    Raises:
        SegtrainError: a file cannot be read, a segmenter cannot be built, or its categories are not those of the data.
    """
    given = config["score_threshold"]
    names = [category.name for category in benchmark.ground_truth.categories]
    # The threshold of a checkpoint applies to its own scores only.
    methods: list[Method] = []
    if distributed.is_first():
        methods += _read_result_files(config["predictions"], given, benchmark, processes)
    for name, node in config["segmenters"].items():
        for row, checkpoint in methods_of(name, node, checkpoints).items():
            own_node = checkpoint.segmenter_node(node, benchmark.max_dets)
            others: list[Mapping[str, Any]] = []
            built = _on_device(build(own_node), device)
            if loads_checkpoint(node):
                need_names = config["tracks"] == "all"
                categories = checkpoint.categories(benchmark.split.index, need_names=need_names)
                intensity = checkpoint.intensity if config["data"]["intensity"] == "auto" else None
                methods.append(TrainedMethod(row, built, checkpoint, categories, given, names, intensity))
                if checkpoint.checkpoint is not None:
                    others = [checkpoint.checkpoint.config["segmenter"]]
            else:
                methods.append(_untrained(row, built, checkpoint.thresholds(given, names)))
            methods[-1].fingerprint = of_node(own_node, *others, seed=config["seed"])
    return methods


def _on_device(built: Any, device: str) -> Any:
    """Move a network to its device."""
    from segtrain.device import to_device  # here, since PyTorch takes seconds and 500 MB; result files do not need it

    return to_device(built, device)


def _read_result_files(
    files: Mapping[str, str | Mapping[str, Any]], threshold: GivenThreshold, benchmark: Benchmark, processes: int
) -> list[ResultFile]:
    """Read result files, in their order, each in one of several processes."""

    def read(file: tuple[str, str | Mapping[str, Any]], advance: Advance) -> ResultFile:
        return _result_file(*file, threshold, benchmark)

    return [method for _, method in sorted(in_processes(read, list(files.items()), processes), key=itemgetter(0))]


def _result_file(
    name: str, given: str | Mapping[str, Any], threshold: GivenThreshold, benchmark: Benchmark
) -> ResultFile:
    """Read a result file, given as its path, or with the meaning of its ids."""
    stated = {"file": given} if isinstance(given, str) else dict(given)
    file = Path(stated.pop("file"))
    return ResultFile(name, file, threshold, benchmark, ResultIds(**stated))


def _untrained(name: str, built: object, thresholds: ScoreThresholds) -> Method:
    """Make the method of an object that the node of a segmenter has built."""
    if isinstance(built, Oracle):
        return OracleMethod(name, built)
    if isinstance(built, Tuned):
        return TunedMethod(name, built, thresholds)
    if isinstance(built, Segmenter):
        return Method(name, built, thresholds)
    raise SegtrainError(f"segmenters.{name}: {type(built).__name__} has no segment() and scores_are_learned")


def given_files(methods: Iterable[Method], config_folders: Iterable[Path]) -> list[tuple[Path, str]]:
    """List files that methods may have been read from: result files, and winners of earlier searches.

    Args:
        methods: the methods of the evaluation.
        config_folders: folders that the configuration was composed from.

    Returns:
        Each file with the name of a method.
    """
    results = [(method.source_file, method.name) for method in methods if method.source_file is not None]
    winners = [path for folder in config_folders for path in (folder / "segmenter").glob("*_winner.yaml")]
    return [*results, *((path, path.stem) for path in winners)]


def reference_row(reference: str, rows: Sequence[str], trained: Collection[str], *, required: bool) -> str | None:
    """Find the row that all others are compared with.

    Args:
        reference: name of the row, or for several checkpoints its part before the settings of the run, or after it.
        rows: names of all rows, in the order of the report.
        trained: names of the rows with a trained network.
        required: a row of that name must be there, since the user asked for it.

    Returns:
        The first row of that name; otherwise the first trained row; None where there is neither.

    Raises:
        SegtrainError: there are no rows, or the required one is missing.

    >>> reference_row("mask_rcnn", ["otsu", "mask_rcnn · seed 1", "mask_rcnn · seed 2"], [], required=False)
    'mask_rcnn · seed 1'
    >>> reference_row("seed 2", ["otsu", "mask_rcnn · seed 1", "mask_rcnn · seed 2"], [], required=True)
    'mask_rcnn · seed 2'
    >>> reference_row("mask_rcnn", ["otsu", "my_net"], ["my_net"], required=False)
    'my_net'
    """
    if not rows:
        raise SegtrainError("there is no row to evaluate; give predictions.NAME=FILE, or methods=all")
    start, end = (f"{reference}{SEPARATOR}", f"{reference} ("), f"{SEPARATOR}{reference}"
    named = [name for name in rows if name == reference or name.startswith(start) or name.endswith(end)]
    if required and not named:
        raise SegtrainError(f"reference={reference}: there is no such row; {nearest(reference, rows)}")
    candidates = named or [name for name in rows if name in trained]
    return candidates[0] if candidates else None


def with_windows_where_needed(methods: Sequence[Method], split: Split) -> tuple[list[Method], list[str]]:
    """Choose the methods that can segment all images, as large ones are read by windows only.

    Args:
        methods: all methods of the evaluation.
        split: the evaluated images.

    Returns:
        The methods that cut each large image into windows, or segment none; and notes that name the others, with the
        remedy.

    Raises:
        SegtrainError: no method is left.
    """
    large = [] if split.images is None else large_images(split.images, split.index.images)
    if not large:
        return list(methods), []
    sizes = {image.size for image in large}
    able = [method for method in methods if all(method.reads_windows(size) for size in sizes)]
    groups: dict[str, list[str]] = {}
    for method in methods:
        if method not in able:
            groups.setdefault(method.remedy_for_windows, []).append(method.name)
    notes = [f"{', '.join(names)} left out: {_why(large)}; {_remedy(large, own)}" for own, names in groups.items()]
    if not able:
        raise SegtrainError(f"{split.index.path}: {'; '.join(notes)}")
    return able, notes


def _why(large: Sequence[ImageInfo]) -> str:
    first = f"{printable(large[0].file_name)}, {large[0].height}x{large[0].width}"
    named = f"the first {first}" if len(large) > 1 else first
    have = "image has" if len(large) == 1 else "images have"
    return f"whole images are needed, and {len(large):,} {have} more pixels than data.max_image_pixels ({named})"


def _remedy(large: Sequence[ImageInfo], windows: str) -> str:
    most = max(image.height * image.width for image in large)
    return f"{windows}, or read images whole with data.max_image_pixels={most}"
