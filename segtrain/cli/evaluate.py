"""The ``evaluate`` command: benchmark every configured method and write the report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from segtrain import distributed
from segtrain.benchmark.checkpoints import checkpoint_argument
from segtrain.benchmark.evaluated_runs import runs_of, seeds_of_one_configuration
from segtrain.benchmark.fingerprints import digest, of_code, of_data
from segtrain.benchmark.method_list import build_methods, given_files, reference_row, with_windows_where_needed
from segtrain.benchmark.method_runs import FoundRows, run_methods, timing_notes
from segtrain.benchmark.methods import Method
from segtrain.benchmark.results import Results
from segtrain.benchmark.row_files import RowFiles, describe_machine
from segtrain.benchmark.runner import SUSPECTS, Benchmark, EvaluationFolder, MethodResult
from segtrain.benchmark.suspects import find_suspects, voters, write_suspects
from segtrain.benchmark.tuning import Tuning
from segtrain.cli.command_line import Command, show
from segtrain.cli.evaluation_inputs import EvaluationInputs
from segtrain.cli.overrides import about_data, given_keys
from segtrain.evaluation import TRACKS
from segtrain.report.build import build_results
from segtrain.report.gallery.select import select_images
from segtrain.report.gallery.suspect_crops import SuspectList, list_suspects
from segtrain.report.row_analysis import Analyst, RowAnalysis
from segtrain.report.sections.confusions import confused_images
from segtrain.report.verdict import is_useful
from segtrain.report.writer import terminal_table, write_report
from segtrain.runtime import describe_environment, limit_threads, seed_everything, thread_count
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
    device = _find_device(config)
    threads = thread_count(config["threads"], busy_workers=0)
    limit_threads(threads)
    seed_everything(config["seed"])

    # All that can fail is built and checked before the first method runs.
    task = _Task.open(config, output_dir, command, device, threads)
    if not distributed.is_first():
        task.run_methods(EvaluationFolder(output_dir))
        return None
    reference = task.reference()
    folder = task.begin()
    analyst = task.analyst()
    try:
        task.run_methods(folder, threads)
        analyses = task.analyse(analyst, threads)
        results = task.results(analyses, analyst, reference)
        suspects = _write_suspects(output_dir, task.benchmark, results, pictures=config["gallery"] > 0)
        scores = {name: own.image_f1 for name, own in analyses.items() if own.image_f1 is not None}
        images = select_images(task.benchmark, scores, config["gallery"], reference, confused_images(results))
        report = write_report(output_dir, results, images, suspects, threads)
    except Stopped as stop:
        again = command.line_with(output_dir=str(output_dir), resume="auto")
        raise _stopped(stop, task.rows, len(task.methods), folder.path, again) from None
    task.rows.kept.drop_others()
    folder.finish()
    show(terminal_table(results))
    if number := sum(suspects.kinds.values()):
        show(f"Labels to look at: {number:,}, in {output_dir / SUSPECTS}")
    show(f"Report: {report}")
    return Evaluation(results, report)


@dataclass(frozen=True)
class _Task:
    """Evaluation whose methods are built.

    Attributes:
        config: composed, resolved and checked configuration.
        output_dir: folder of the evaluation.
        command: the command that started it.
        inputs: checkpoints and images.
        benchmark: images and their ground truth; holds the methods that have run.
        methods: methods that can run.
        left_out: notes on the methods that need images whole which are too large for that.
        tuning: budget and training images of the searches.
        rows: rows of earlier evaluations.
        environment: versions and hardware.
        newest: argument that names the checkpoint of the newest run, where the user has named none.
    """

    config: Mapping[str, Any]
    output_dir: Path
    command: Command
    inputs: EvaluationInputs
    benchmark: Benchmark
    methods: Sequence[Method]
    left_out: Sequence[str]
    tuning: Tuning
    rows: FoundRows
    environment: Mapping[str, str | int | float]
    newest: Sequence[str]

    @classmethod
    def open(cls, config: Mapping[str, Any], output_dir: Path, command: Command, device: str, threads: int) -> "_Task":
        """Read the checkpoints and the annotations, build the methods, and open the training images of searches."""
        inputs = EvaluationInputs.open(config)
        source, split, data = inputs.source, inputs.split, inputs.data
        tracks = TRACKS if config["tracks"] == "all" else TRACKS[:1]
        benchmark = Benchmark(split, max_dets=data["max_dets"], tracks=tracks, seed=config["seed"])
        methods = build_methods({**config, "data": data}, inputs.checkpoints, benchmark, device, threads)
        if inputs.folds is not None:
            methods = inputs.folds.pooled(methods, config["segmenters"])
        precision = source.precision(config["precision"], device)
        environment = describe_environment(device, precision, threads)
        reused = [config["reuse"]] if isinstance(config["reuse"], str) else config["reuse"] or []
        sources = [*([output_dir] if _resumes(config) else []), *map(Path, reused)]
        kept = RowFiles(output_dir, sources, describe_machine(environment))
        rows = FoundRows(kept, digest(of_code(), of_data(split, data), device.partition(":")[0], precision))
        newest = checkpoint_argument(source.path, config["checkpoint"])
        start = [*command.program, *about_data(command.overrides), *newest]
        tuning = Tuning(output_dir, data, start, config["seed"], **config["tune"], kept=kept)
        methods, left_out = with_windows_where_needed(methods, split)
        for note in left_out:
            logger.warning(note)
        methods = tuning.open(methods, source.seed, inputs.val_ids, split)
        benchmark.take_windows(max((method.most_windows(benchmark) for method in methods), default=1))
        return cls(
            config=config,
            output_dir=output_dir,
            command=command,
            inputs=inputs,
            benchmark=benchmark,
            methods=methods,
            left_out=left_out,
            tuning=tuning,
            rows=rows,
            environment=environment,
            newest=newest,
        )

    def reference(self) -> str | None:
        """Find the row that all others are compared with."""
        return reference_row(
            self.config["reference"],
            [method.name for method in self.methods],
            [method.name for method in self.methods if method.checkpoint is not None],
            required="reference" in given_keys(self.command.overrides),
        )

    def begin(self) -> EvaluationFolder:
        """Record the command in the folder, and make room for the output."""
        resumes = _resumes(self.config)
        self.command.record(self.config, self.output_dir, {} if resumes else None)
        folder = EvaluationFolder(self.output_dir, given_files(self.methods, self.command.config_folders))
        folder.prepare([method.name for method in self.methods], self.config["overwrite"] and not resumes, resumes)
        return folder

    def analyst(self) -> Analyst:
        """Make the analysis of rows."""
        own, drawing = self.benchmark, {**self.config["bootstrap"], "seed": self.config["seed"]}
        return Analyst(self.inputs.split, own.ground_truth, own.max_dets, own.tracks, **drawing)

    def run_methods(self, folder: EvaluationFolder, processes: int = 1) -> None:
        """Tune and run the methods; see `run_methods`."""
        run_methods(self.methods, self.benchmark, self.tuning, folder, self.rows, processes)

    def analyse(self, analyst: Analyst, processes: int) -> dict[str, RowAnalysis]:
        """Analyse the rows; see `analyse_rows`."""
        settings = [self.benchmark.max_dets, *(self.config[key] for key in ("tracks", "bootstrap", "seed"))]
        fingerprints = {method.name: digest(self.rows.fingerprint(method), settings) for method in self.methods}
        return analyse_rows(analyst, self.benchmark.rows, processes, self.rows, fingerprints)

    def results(self, analyses: Mapping[str, RowAnalysis], analyst: Analyst, reference: str | None) -> Results:
        """Compare the methods, and assemble the results."""
        methods, data = self.methods, self.inputs.data
        trained = {method.name: method.checkpoint for method in methods if method.checkpoint is not None}
        return build_results(
            self.benchmark.rows,
            analyses,
            analyst,
            environment=self.environment,
            command=self.command.line(*self.newest),
            directory=str(Path.cwd()),
            checkpoint=self.inputs.source.describe(),
            checkpoints={name: own.describe() for method in methods for name, own in method.networks.items()},
            seeds=seeds_of_one_configuration(trained),
            runs=runs_of(trained),
            reference=reference,
            greys=self.benchmark.greys,
            windows=self.benchmark.windows,
            data_settings=data,
            measured={name: origin.measured for name, origin in self.rows.origins.items()},
            notes=[
                *self.inputs.notes,
                *self.left_out,
                *self.rows.notes(),
                *timing_notes(methods, len(self.inputs.split.index.images)),
                *(note for method in methods for note in method.notes),
                *(note for method in methods for note in method.notes_on_windows(self.benchmark, data["max_dets"])),
                *self.tuning.notes,
            ],
        )


def _find_device(config: Mapping[str, Any]) -> str:
    """Find the device that segmenters compute on, such as "cpu" or "cuda:0"; without segmenters nothing is computed.

    Raises:
        SegtrainError: there is no such device here, or it does not compute in the given precision.
    """
    if not config["segmenters"]:
        return "cpu"
    from segtrain.device import resolve_device, resolve_precision  # here, since PyTorch takes seconds and 500 MB

    device = resolve_device(config["device"])
    if config["precision"] is not None:
        resolve_precision(config["precision"], device)
    return str(device)


def _resumes(config: Mapping[str, Any]) -> bool:
    """Return True if an interrupted evaluation in the same folder goes on; ``overwrite`` does not matter then."""
    return bool(config["resume"]["path"] == "auto")


def _write_suspects(folder: Path, benchmark: Benchmark, results: Results, pictures: bool) -> SuspectList:
    """Find the labels that the methods of use contradict, and write them."""
    useful = [name for name in results.contenders if is_useful(results, name)]
    quality = {name: results.methods[name].metric("f1_50") or 0.0 for name in useful}
    counting = voters(benchmark.rows, useful, quality)
    suspects = find_suspects(benchmark.rows, benchmark.ground_truth, counting)
    write_suspects(folder, suspects, benchmark.split.index, benchmark.ground_truth, counting)
    return list_suspects(benchmark, suspects, counting, pictures=pictures)


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
    them = "them, and the settings that were found so far" if found.segmented else "the settings that were found so far"
    kept = f"{folder} keeps {them}"
    return Stopped(stop.number, f"stopped with {done}; {kept}; go on with: {again}")
