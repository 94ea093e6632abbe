"""The ``evaluate`` command: benchmark every configured method and write the report."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import rich

from segtrain import distributed
from segtrain.benchmark.checkpoints import checkpoint_argument, seeds_of_one_configuration
from segtrain.benchmark.fingerprints import digest, of_code, of_data
from segtrain.benchmark.method_runs import FoundRows, run_methods, timing_notes
from segtrain.benchmark.methods import build_methods, given_files, reference_row
from segtrain.benchmark.results import Results
from segtrain.benchmark.row_files import RowFiles, describe_machine
from segtrain.benchmark.run_histories import runs_of
from segtrain.benchmark.runner import SUSPECTS, Benchmark, EvaluationFolder, MethodResult
from segtrain.benchmark.suspects import find_suspects, voters, write_suspects
from segtrain.benchmark.tuning import Tuning
from segtrain.benchmark.whole_images import with_windows_where_needed
from segtrain.cli.command_line import Command
from segtrain.cli.evaluation_inputs import EvaluationInputs
from segtrain.cli.overrides import about_data, given_keys
from segtrain.console import print_text
from segtrain.evaluation import TRACKS
from segtrain.report.build import build_results
from segtrain.report.gallery.select import select_images
from segtrain.report.gallery.suspect_crops import SuspectList, list_suspects
from segtrain.report.row_analysis import Analyst, RowAnalysis
from segtrain.report.sections.confusions import confused_images
from segtrain.report.verdict import is_useful
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

logger = logging.getLogger(__name__)


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
    inputs = EvaluationInputs.open(config)
    source, split, data = inputs.source, inputs.split, inputs.data
    tracks = TRACKS if config["tracks"] == "all" else TRACKS[:1]
    benchmark = Benchmark(split, max_dets=data["max_dets"], tracks=tracks, seed=config["seed"])
    methods = build_methods({**config, "data": data}, inputs.checkpoints, benchmark, device)
    if inputs.folds is not None:
        methods = inputs.folds.pooled(methods, config["segmenters"])
    found = checkpoint_argument(source.path, config["checkpoint"])
    start = [*command.program, *about_data(command.overrides), *found]
    precision = source.precision(config["precision"], device)
    environment = describe_environment(device, precision)
    resumes = config["resume"]["path"] == "auto" and not config["overwrite"]
    given = [config["reuse"]] if isinstance(config["reuse"], str) else config["reuse"] or []
    sources = [*([output_dir] if resumes else []), *map(Path, given)]
    kept = RowFiles(output_dir, sources, describe_machine(environment))
    rows = FoundRows(kept, digest(of_code(), of_data(split, data), device.type, precision))
    tuning = Tuning(output_dir, data, start, config["seed"], **config["tune"], kept=kept)
    methods, left_out = with_windows_where_needed(methods, split)
    for note in left_out:
        logger.warning(note)
    methods = tuning.open(methods, source.seed, inputs.val_ids, split)
    benchmark.take_windows(max((method.most_windows(benchmark) for method in methods), default=1))
    if not distributed.is_first():
        run_methods(methods, benchmark, tuning, EvaluationFolder(output_dir), rows)
        return None
    reference = reference_row(
        config["reference"],
        [method.name for method in methods],
        [method.name for method in methods if method.checkpoint is not None],
        required="reference" in given_keys(command.overrides),
    )
    command.record(config, output_dir, {} if resumes else None)
    folder = EvaluationFolder(output_dir, given_files(methods, command.config_folders))
    folder.prepare([method.name for method in methods], config["overwrite"], resumes)

    analyst = Analyst(
        split, benchmark.ground_truth, benchmark.max_dets, benchmark.tracks, **config["bootstrap"], seed=config["seed"]
    )
    try:
        run_methods(methods, benchmark, tuning, folder, rows, threads)
        settings = [benchmark.max_dets, config["tracks"], config["bootstrap"], config["seed"]]
        parts = {method.name: digest(rows.fingerprint(method), settings) for method in methods}
        analyses = analyse_rows(analyst, benchmark.rows, threads, rows, parts)
    except Stopped as stop:
        again = command.line_with(output_dir=str(output_dir), resume="auto")
        raise _stopped(stop, rows, len(methods), folder.path, again) from None

    trained = {method.name: method.checkpoint for method in methods if method.checkpoint is not None}
    results = build_results(
        benchmark.rows,
        analyses,
        analyst,
        environment=environment,
        command=command.line(*found),
        directory=str(Path.cwd()),
        checkpoint=source.describe(),
        checkpoints={name: own.describe() for method in methods for name, own in method.networks.items()},
        seeds=seeds_of_one_configuration(trained),
        runs=runs_of(trained),
        reference=reference,
        greys=benchmark.greys,
        windows=benchmark.windows,
        data_settings=data,
        measured={name: origin.measured for name, origin in rows.origins.items()},
        notes=[
            *inputs.notes,
            *left_out,
            *rows.notes(),
            *timing_notes(methods, len(split.index.images)),
            *(note for method in methods for note in method.notes),
            *(note for method in methods for note in method.notes_on_windows(benchmark, data["max_dets"])),
            *tuning.notes,
        ],
    )
    suspects = _write_suspects(output_dir, benchmark, results, pictures=config["gallery"] > 0)
    scores = {name: analyses[name].image_f1 for name in benchmark.rows}
    known = {name: own for name, own in scores.items() if own is not None}
    images = select_images(benchmark, known, config["gallery"], reference, confused_images(results))
    report = write_report(output_dir, results, images, suspects)
    kept.drop_others()
    folder.finish()
    rich.print(terminal_table(results))
    if number := sum(suspects.kinds.values()):
        print_text(f"Labels to look at: {number:,}, in {output_dir / SUSPECTS}")
    print_text(f"Report: {report}")
    return Evaluation(results, report)


def _write_suspects(folder: Path, benchmark: Benchmark, results: Results, pictures: bool) -> SuspectList:
    """Find the labels that the methods of use contradict, and write them."""
    useful = [name for name in results.contenders if is_useful(results, name)]
    quality = {name: results.methods[name].metric("f1_50") or 0.0 for name in useful}
    counting = voters(benchmark.rows, useful, quality)
    suspects = find_suspects(benchmark.rows, benchmark.ground_truth, counting)
    write_suspects(folder, suspects, benchmark.split.index, benchmark.ground_truth, counting)
    return list_suspects(benchmark, suspects, counting, pictures)


def analyse_rows(
    analyst: Analyst,
    rows: Mapping[str, MethodResult],
    processes: int,
    found: FoundRows,
    fingerprints: Mapping[str, str],
) -> dict[str, RowAnalysis]:
    """Analyse all rows that an earlier evaluation has not analysed, and save each analysis when it is complete.

    Args:
        analyst: analysis of rows, with the evaluated data.
        rows: methods by name.
        processes: number of processes that share the rows.
        found: rows of earlier runs; receives the analyses.
        fingerprints: fingerprint of all that the analysis of each row depends on.

    Returns:
        The analyses in the order of the rows.
    """
    analyses: dict[str, RowAnalysis] = {}
    for name in rows:
        known = found.kept.find("analysis", fingerprints[name], RowAnalysis)
        if known is not None:
            analyses[name] = known.content
            found.analysed.add(name)
            if name not in found.origins:
                found.note(name, known.origin)
    left = {name: row for name, row in rows.items() if name not in analyses}
    for name, analysis in analyst.analyse(left, processes):
        found.kept.keep("analysis", fingerprints[name], name, analysis)
        analyses[name] = analysis
        found.analysed.add(name)
    return {name: analyses[name] for name in rows}


def _stopped(stop: Stopped, found: FoundRows, rows: int, folder: Path, again: str) -> Stopped:
    done = f"{len(found.segmented)} of {rows} rows segmented"
    if found.analysed:
        done += f" and {len(found.analysed)} analysed"
    kept = f"{folder} keeps them, and the settings that were found so far"
    return Stopped(stop.number, f"stopped with {done}; {kept}; go on with: {again}")
