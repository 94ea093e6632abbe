"""The ``evaluate`` command: benchmark every configured method and write the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import rich

from segtrain import distributed
from segtrain.benchmark.checkpoints import (
    checkpoint_argument,
    find_checkpoints,
    loads_checkpoint,
    seeds_of_one_configuration,
    with_all_categories,
)
from segtrain.benchmark.methods import build_methods, given_files, reference_row, run_methods
from segtrain.benchmark.results import Results
from segtrain.benchmark.runner import Benchmark, EvaluationFolder, MethodResult
from segtrain.benchmark.tuning import Tuning
from segtrain.cli.command_line import Command
from segtrain.cli.config import Data, check_values
from segtrain.cli.overrides import about_data, given_keys
from segtrain.data.coco.index import require_instances
from segtrain.data.layouts import with_layout
from segtrain.data.open_data import open_data
from segtrain.data.splits import ImageUse
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS
from segtrain.report.build import build_results
from segtrain.report.gallery.select import select_images
from segtrain.report.row_analysis import Analyst, RowAnalysis
from segtrain.report.writer import terminal_table, write_report
from segtrain.runtime import (
    describe_environment,
    limit_threads,
    resolve_device,
    resolve_precision,
    seed_everything,
    thread_count,
)
from segtrain.stopping import Stopped
from segtrain.training.parallel import require_same_data


class Evaluation(NamedTuple):
    """Outcome of an evaluation: the content of ``results.json``, and the path of ``report.html``."""

    results: Results
    report: Path

    def __repr__(self) -> str:
        return f"<Evaluation of {', '.join(self.results.methods)}: {self.report}>"


def run_evaluation(config: dict[str, Any], output_dir: Path, command: Command) -> Evaluation | None:
    """Benchmark every method of the configuration and write the report.

    Several processes share the images, and the first one scores what is found in them.

    Args:
        config: composed, resolved and checked configuration.
        output_dir: folder of the evaluation.
        command: the command that started the evaluation.

    Returns:
        The results; None in all processes but the first.
    """
    device = resolve_device(config["device"])
    if config["precision"] is not None:
        resolve_precision(config["precision"], device)
    threads = thread_count(config["threads"], busy_workers=0)
    limit_threads(threads)
    seed_everything(config["seed"])

    # All that can fail is built and checked before the first method runs.
    checkpoints = distributed.from_first(lambda: find_checkpoints(config))
    source = checkpoints[0]
    data, val_ids = source.data_settings(config["data"])
    for problem in check_values(Data, data, "data."):  # of the checkpoint, since those of the command are checked
        raise SegtrainError(f"{source.path}: {problem}; the file is damaged")
    data = with_layout(data, "val")
    with distributed.in_turn():
        split = open_data(data, ["val"], source.seed, val_ids, _image_use(config), source.intensity)["val"]
    require_same_data({"val": split})
    require_instances(split.index)
    if any(map(loads_checkpoint, config["segmenters"].values())):
        split = with_all_categories(split, checkpoints)
    benchmark = Benchmark(split, max_dets=data["max_dets"], tracks=TRACKS if config["tracks"] == "all" else TRACKS[:1])
    methods = build_methods({**config, "data": data}, checkpoints, benchmark, device)
    found = checkpoint_argument(source.path, config["checkpoint"])
    start = [*command.program, *about_data(command.overrides), *found]
    tuning = Tuning(output_dir, data, start, config["seed"], **config["tune"])
    methods = tuning.open(methods, source.seed, val_ids, split)
    if not distributed.is_first():
        run_methods(methods, benchmark, tuning, EvaluationFolder(output_dir))
        return None
    reference = reference_row(
        config["reference"],
        [method.name for method in methods],
        [method.name for method in methods if method.checkpoint is not None],
        required="reference" in given_keys(command.overrides),
    )
    command.record(config, output_dir)
    folder = EvaluationFolder(output_dir, given_files(methods, command.config_folders))
    folder.prepare([method.name for method in methods], config["overwrite"])

    analyst = Analyst(
        split, benchmark.ground_truth, benchmark.max_dets, benchmark.tracks, **config["bootstrap"], seed=config["seed"]
    )
    try:
        run_methods(methods, benchmark, tuning, folder)
        analyses = analyse_rows(analyst, benchmark.rows, threads)
    except Stopped as stop:
        raise _stopped(stop, len(benchmark.rows), len(methods), folder.path) from None

    trained = {method.name: method.checkpoint for method in methods if method.checkpoint is not None}
    results = build_results(
        benchmark.rows,
        analyses,
        analyst,
        environment=describe_environment(device, source.precision(config["precision"], device)),
        command=command.line(*found),
        directory=str(Path.cwd()),
        checkpoint=source.describe(),
        checkpoints={name: checkpoint.describe() for name, checkpoint in trained.items()},
        seeds=seeds_of_one_configuration(trained),
        reference=reference,
        greys=benchmark.greys,
        notes=[*(note for method in methods for note in method.notes), *tuning.notes],
    )
    scores = {name: analyses[name].image_f1 for name in benchmark.rows}
    known = {name: own for name, own in scores.items() if own is not None}
    report = write_report(output_dir, results, select_images(benchmark, known, config["gallery"], reference))
    folder.finish()
    rich.print(terminal_table(results))
    print(f"Report: {report}")
    return Evaluation(results, report)


def analyse_rows(analyst: Analyst, rows: Mapping[str, MethodResult], processes: int) -> dict[str, RowAnalysis]:
    """Analyse all rows, in the order of the evaluation.

    Args:
        analyst: what the analyses are based on.
        rows: methods by name.
        processes: number of processes that share the rows.
    """
    analyses = dict(analyst.analyse(rows, processes))
    return {name: analyses[name] for name in rows}


def _stopped(stop: Stopped, done: int, rows: int, folder: Path) -> Stopped:
    kept = f"{folder} keeps their detections, and the settings that were found so far"
    return Stopped(stop.number, f"stopped with {done} of {rows} rows done; {kept}")


def _image_use(config: dict[str, Any]) -> ImageUse:
    return "needed" if config["segmenters"] else "welcome" if config["gallery"] else "unused"
