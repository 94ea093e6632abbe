"""Benchmark: every segmenter -> records -> scores -> report. ``python evaluate.py --help`` lists what can be set."""

import shlex
import sys
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from rich.console import Console

from segtrain.data.settings import open_data
from segtrain.errors import SegtrainError
from segtrain.evaluation import TRACKS, Reference
from segtrain.launch import launch
from segtrain.reporting.benchmark import headline, write_report
from segtrain.reporting.results import assemble
from segtrain.reporting.rows import choose_images, file_row, progress_bar, segmenter_row, write_predictions
from segtrain.runtime import describe_environment, resolve_device, seed_everything, set_threads, to_device
from segtrain.training.source import LOADER, data_settings, describe_checkpoint, find_checkpoint, match_categories


def evaluate(config: dict[str, Any], output_dir: Path) -> None:
    """Score every row of the configuration and write the report."""
    device = resolve_device(config["device"])
    set_threads(config["threads"], busy_workers=0)
    seed_everything(config["seed"])
    found = find_checkpoint(config)
    path, checkpoint = found if found else (None, None)
    data = data_settings(config["data"], checkpoint)
    max_dets = data["max_dets"]
    split = open_data(data, ["val"], data["seed"], data["val_ids"])["val"]
    reference = Reference.of(split.index)
    tracks = TRACKS if config["tracks"] == "all" else TRACKS[:1]
    threshold = config["score_threshold"]
    if threshold is None:
        threshold = checkpoint.score_threshold if checkpoint else 0.5

    scoring = {"max_dets": max_dets, "score_threshold": threshold, "tracks": tracks}
    nodes = config["segmenters"]
    if clash := sorted(nodes.keys() & config["predictions"].keys()):
        raise SegtrainError(f"predictions.{clash[0]}: a segmenter has this name already; choose another")
    rows = {name: file_row(Path(file), reference, **scoring) for name, file in config["predictions"].items()}
    with progress_bar(len(nodes) * len(reference.sizes)) as bar:
        for name, node in nodes.items():
            categories = reference.categories
            if node["_target_"] == LOADER:
                node = {**node, "path": str(path), "max_dets": max_dets}
                categories = match_categories(checkpoint, categories, need_names=len(tracks) > 1)
            segmenter = to_device(instantiate(node, _convert_="all"), device)
            rows[name] = segmenter_row(segmenter, split, reference, categories, **scoring, advance=bar(name))
            write_predictions(output_dir / "predictions", name, rows[name].findings)

    results = assemble(
        rows,
        split,
        reference,
        max_dets,
        environment=describe_environment(device, config["precision"] or (checkpoint.precision if checkpoint else "fp32")),
        command=shlex.join(["python", *sys.argv]),
        checkpoint=describe_checkpoint(path, checkpoint) if checkpoint else None,
    )
    report = write_report(output_dir, results, choose_images(rows, split, reference, config["gallery"]))
    console = Console()
    console.print(headline(results))
    console.print(f"Report: {report}", soft_wrap=True)


if __name__ == "__main__":
    launch(evaluate, Path(__file__).parent / "configs", "evaluate")
