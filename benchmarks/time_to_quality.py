"""Quality of nuclei segmentation after ten minutes of training on two cores.

    python benchmarks/time_to_quality.py --nuclei DIR --weights mobilenet_v2_imagenet_features.pt --check
    python benchmarks/time_to_quality.py --nuclei DIR --weights FILE --steps 650

One after the other, each alone on the machine and in a process of its own:

- ours: ``python train.py experiment=nuclei`` for ``--minutes``; or, where the machine is busy, for ``--steps``.
- stock: ``benchmarks/stock_training.py``, torchvision's reference recipe on the same network, backbone weights and
  batch size, for as many minutes of training as ours took. Its docstring states the code path.

Validation is not counted on either side. ``evaluate.py`` scores both on the validation split in one report: COCO's mask
AP, class-agnostic, at most 400 detections an image. The bound is on our AP; the stock side stands beside it, in one row
as torchvision pastes its masks, in another with the same detections pasted exactly, so that the difference of the two
rows is what pasting brings and the rest is what training brings. With ``--weights`` the normalisation layers are frozen
on both sides; without, they learn, as do all backbone stages.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import arguments, finish
from rows import Row
from stand_ins import DRAWN, splits_of_nuclei

from segtrain.training.checkpoint import load_checkpoint

FOLDER = Path(__file__).parent
LEAST_AP = 0.54
STOCK_SIDES = ("stock", "stock_exact")
# Rows, and what they add to the description; in the order of the stock sides.
ROWS = {
    "time_to_quality": ", pasted by torchvision",
    "time_to_quality_exact": ", its masks pasted exactly",
}


def run(script: Path, *options: str) -> None:
    """Run a script in a process of its own with its output shown; exit if it fails."""
    if code := subprocess.run([sys.executable, str(script), *options], check=False).returncode:
        sys.exit(code)


def train_ours(data: Path, folder: Path, options: argparse.Namespace) -> None:
    """Train our side: the preset, up to the given limit."""
    limit = [f"trainer.max_minutes={options.minutes}"]
    if options.steps:
        limit = ["trainer.max_minutes=null", f"trainer.max_steps={options.steps}"]
    start = [f"segmenter.weights={options.weights}"]
    if not options.weights:
        start = ["segmenter.weights=null", "segmenter.frozen_stages=0"]
    run(FOLDER.parent / "train.py", "experiment=nuclei", f"data.root={data}", f"output_dir={folder}", *start, *limit)


def measure(data: Path, folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], int]:
    """Train both sides and score them.

    Args:
        data: COCO folder in the layout that experiment=nuclei expects.
        folder: folder of all output.
        options: options of the command line.

    Returns:
        The content of ``results.json``, and the number of steps of the stock side.
    """
    train_ours(data, folder / "ours", options)
    checkpoint = folder / "ours" / "checkpoints" / "best.pt"
    found = {side: folder / f"{side}.json" for side in STOCK_SIDES}
    minutes = load_checkpoint(checkpoint).minutes
    print(f"stock: as long as ours took, {minutes:.2f} minutes", flush=True)
    outputs = [f"--out={found['stock']}", f"--exact-out={found['stock_exact']}"]
    run(FOLDER / "stock_training.py", f"--run={folder / 'ours'}", f"--minutes={minutes}", *outputs)
    report = [f"checkpoint={checkpoint}", f"output_dir={folder / 'report'}"]
    report += [f"predictions.{side}={path}" for side, path in found.items()]
    run(FOLDER.parent / "evaluate.py", "methods=mask_rcnn", "tracks=class_agnostic", "gallery=0", *report)
    results = json.loads((folder / "report" / "results.json").read_text())
    return results, int(found["stock"].with_suffix(".steps").read_text())


def main(options: argparse.Namespace) -> None:
    """Measure the row."""
    with tempfile.TemporaryDirectory() as temporary, splits_of_nuclei(options) as (_, val):
        folder = (options.keep or Path(temporary)).absolute()
        results, stock_steps = measure(val.annotations.parent.parent.absolute(), folder, options)
    ours, *stock = (
        results["methods"][side]["class_agnostic"]["mask_ap"] or 0.0 for side in ("mask_rcnn", *STOCK_SIDES)
    )
    checkpoint = results["checkpoint"]
    limit = f"{options.steps} steps" if options.steps else f"{options.minutes:g} minutes"
    what = (
        f"mask AP on {'nuclei val' if options.nuclei else DRAWN} after {limit}: {checkpoint['step']} steps of ours in "
        f"{checkpoint['minutes']:.1f} min, {stock_steps} of stock in the same time"
    )
    rows = [
        Row(name, f"{what}{pasted}", "AP", ours, None, LEAST_AP, greater=True, beside=beside)
        for (name, pasted), beside in zip(ROWS.items(), stock, strict=True)
    ]
    options.repeats = 1
    finish(rows, options)


if __name__ == "__main__":
    parser = arguments("How well a network segments nuclei after ten minutes of training.")
    parser.add_argument("--minutes", type=float, default=10, help="of training")
    parser.add_argument("--steps", type=int, help="train ours to this many steps instead, where the machine is busy")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for the runs and the report")
    main(parser.parse_args())
