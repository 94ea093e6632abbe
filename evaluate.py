"""Benchmark: every segmenter -> records -> scores -> report. ``python evaluate.py --help`` lists what can be set."""

import shlex
import sys
from pathlib import Path
from typing import Any

import rich
import torch

from segtrain.config import build
from segtrain.data.index.coco import require_instances
from segtrain.data.splits.opening import ImageUse
from segtrain.data.splits.settings import open_data
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS
from segtrain.launch import launch, record_command
from segtrain.reporting.benchmark import headline, write_report
from segtrain.reporting.progress import progress_bar
from segtrain.reporting.rows import Benchmark
from segtrain.runtime import describe_environment, resolve_device, seed_everything, thread_count, to_device
from segtrain.training.source import Source
from segtrain.tuning.oracle import Oracle, find
from segtrain.tuning.rows import Tuning
from segtrain.tuning.search import Tuned


def evaluate(config: dict[str, Any], output_dir: Path) -> None:
    """Score every row of the configuration and write the report."""
    device = resolve_device(config["device"])
    torch.set_num_threads(thread_count(config["threads"], busy_workers=0))
    seed_everything(config["seed"])

    source = Source.find(config)
    data, val_ids = source.data_settings(config["data"])
    images: ImageUse = "needed" if config["segmenters"] else "welcome" if config["gallery"] else "unused"
    split = open_data(data, ["val"], source.seed, val_ids, images)["val"]
    require_instances(split.index)
    benchmark = Benchmark(
        split,
        output_dir,
        max_dets=data["max_dets"],
        score_threshold=source.score_threshold(config["score_threshold"]),
        tracks=TRACKS if config["tracks"] == "all" else ["class_agnostic"],
        learned=source.description(config["score_threshold"]),
    )
    for name, path in config["predictions"].items():
        benchmark.add_file(name, Path(path))
    # Built before the first one runs: what is wrong with the last must not come out hours later.
    segmenters: dict[str, Any] = {}
    for name, node in config["segmenters"].items():
        categories = source.categories(node, split.index.categories, need_names=config["tracks"] == "all")
        segmenters[name] = to_device(build(source.segmenter_node(node, data["max_dets"])), device), categories
    tuned = {name: part for name, (part, _) in segmenters.items() if isinstance(part, Tuned)}
    tuning = Tuning(tuned, data, config["seed"], **config["tune"])
    tuning.open(source.seed, val_ids)
    segmenters = {name: row for name, row in segmenters.items() if name in tuning.rows or name not in tuned}
    if not segmenters and not config["predictions"]:
        raise SegtrainError("there is no row to evaluate; give predictions.NAME=FILE, or methods=all")
    record_command(config, output_dir)
    benchmark.prepare_folder(segmenters, config["overwrite"])
    winners = tuning.run(output_dir)
    with progress_bar(segmenters, len(split.index.images)) as bar:
        for name, (segmenter, categories) in segmenters.items():
            if isinstance(segmenter, Oracle):
                found = find(segmenter, benchmark.images(), benchmark.reference, bar(name))
                benchmark.add_oracle(name, found, segmenter.description, segmenter.score)
            else:
                costs = tuning.costs.get(name) or source.costs(config["segmenters"][name])
                benchmark.add_segmenter(name, winners.get(name, segmenter), categories, bar(name), costs)

    results = benchmark.results(
        environment=describe_environment(device, source.precision(config["precision"])),
        command=shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:], *source.override(config["checkpoint"])]),
        directory=str(Path.cwd()),
        checkpoint=source.describe(),
        bootstrap=config["bootstrap"],
        notes=tuning.notes,
    )
    report = write_report(output_dir, results, benchmark.gallery(config["gallery"]))
    rich.print(headline(results))
    print(f"Report: {report}")


if __name__ == "__main__":
    launch(evaluate, Path(__file__).parent / "configs", "evaluate")
