"""The ``evaluate`` command: benchmark every configured method and write the report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import rich

from segtrain.benchmark.checkpoints import find_checkpoints, override, seeds_of_one_configuration
from segtrain.benchmark.methods import build_methods, reference_row
from segtrain.benchmark.oracle import Oracle, find
from segtrain.benchmark.results import Results
from segtrain.benchmark.runner import FILE_THRESHOLD, Benchmark
from segtrain.benchmark.search import Tuned
from segtrain.benchmark.tuning import Tuning
from segtrain.cli.launch import Command
from segtrain.cli.overrides import about_data
from segtrain.data.coco.index import require_instances
from segtrain.data.open_data import open_data
from segtrain.data.splits import ImageUse
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS
from segtrain.report.build import assemble
from segtrain.report.gallery.select import select_images
from segtrain.report.progress import progress_bar
from segtrain.report.writer import terminal_table, write_report
from segtrain.runtime import describe_environment, limit_threads, resolve_device, seed_everything, thread_count


def evaluate(config: dict[str, Any], output_dir: Path, command: Command) -> None:
    """Score every row of the configuration and write the report."""
    device = resolve_device(config["device"])
    limit_threads(thread_count(config["threads"], busy_workers=0))
    seed_everything(config["seed"])

    sources = find_checkpoints(config)
    source = sources[0]
    data, val_ids = source.data_settings(config["data"])
    images: ImageUse = "needed" if config["segmenters"] else "welcome" if config["gallery"] else "unused"
    split = open_data(data, ["val"], source.seed, val_ids, images)["val"]
    require_instances(split.index)
    benchmark = Benchmark(
        split,
        output_dir,
        max_dets=data["max_dets"],
        score_threshold=FILE_THRESHOLD if config["score_threshold"] is None else config["score_threshold"],
        tracks=TRACKS if config["tracks"] == "all" else ["class_agnostic"],
    )
    for name, path in config["predictions"].items():
        benchmark.add_file(name, Path(path))
    planned = build_methods(config, sources, split.index.categories, data["max_dets"], device)
    tuned = {name: row.segmenter for name, row in planned.items() if isinstance(row.segmenter, Tuned)}
    tuning = Tuning(tuned, data, config["seed"], **config["tune"])
    tuning.open(source.seed, val_ids, split)
    planned = {name: row for name, row in planned.items() if name in tuning.rows or name not in tuned}
    if not planned and not config["predictions"]:
        raise SegtrainError("there is no row to evaluate; give predictions.NAME=FILE, or methods=all")
    reference = reference_row(config["reference"], [*benchmark.rows, *planned])
    command.record(config, output_dir)
    for folder in command.config_folders:
        for path in (folder / "segmenter").glob("*_winner.yaml"):
            benchmark.folder.keep(path, path.stem)
    benchmark.prepare_folder(planned, config["overwrite"])
    found_checkpoint = override(source.path, config["checkpoint"])
    winners = tuning.run(output_dir, [*about_data(command.overrides), *found_checkpoint])
    planned = {name: replace(row, segmenter=winners.get(name, row.segmenter)) for name, row in planned.items()}
    with progress_bar(planned, len(split.index.images)) as bar:
        for name, row in planned.items():
            if isinstance(row.segmenter, Oracle):
                row.segmenter.join(other.segmenter for other in planned.values())
                found, costs = find(row.segmenter, benchmark.images(), benchmark.ground_truth, bar(name))
                benchmark.add_oracle(name, found, row.segmenter.description, row.segmenter.score, costs)
            else:
                benchmark.add_segmenter(
                    name,
                    row.segmenter,
                    row.categories,
                    bar(name),
                    score_threshold=row.score_threshold(config["score_threshold"]),
                    description=row.description(config["score_threshold"], split),
                    costs=tuning.costs.get(name) or row.costs,
                )

    learned = {name: row.source for name, row in planned.items() if row.is_learned}
    content = assemble(
        benchmark.rows,
        split,
        benchmark.ground_truth,
        benchmark.max_dets,
        environment=describe_environment(device, source.precision(config["precision"])),
        command=command.line(*found_checkpoint),
        directory=str(Path.cwd()),
        checkpoint=source.describe(),
        checkpoints={name: source.describe() for name, source in learned.items()},
        seeds=seeds_of_one_configuration(learned),
        reference=reference,
        bootstrap=config["bootstrap"],
        notes=[*benchmark.notes, *tuning.notes],
    )
    results = Results.of(content)
    report = write_report(output_dir, results, select_images(benchmark, config["gallery"], reference))
    rich.print(terminal_table(results))
    print(f"Report: {report}")
