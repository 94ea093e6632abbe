"""Cost of saving the state of a training.

    python benchmarks/saving.py --check

- ours: ``last.pt`` of the network of ``experiment=nuclei``, with AdamW's averages and the moving average of the
  weights, written as a run does it: checked for numbers that are not finite, under a temporary name, fsync'd, renamed.
- There is no other side: the bound is 1 % of the time between two saves (``trainer.checkpoint_minutes``, 5 by default).

Row: ``checkpoint_save``.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from harness import arguments, finish
from rows import Row

SHARE = 0.01  # of the time of a training that saving may take


def main(options: argparse.Namespace) -> None:
    """Measure the row, and print it."""
    finish(rows(options), options)


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Save the state of a run again and again."""
    from segtrain.cli.launch import compose_runs
    from segtrain.data.images.intensities.intensity import FULL
    from segtrain.nodes import build
    from segtrain.training.checkpoint import Checkpoint, build_trainable
    from segtrain.training.learner import Learner, parameter_groups
    from segtrain.training.run_state import RunCheckpoints, RunState

    config = compose_runs("train", ["experiment=nuclei", "segmenter.weights=null"])[0]
    network = build_trainable(config["segmenter"], ["nucleus"], initialise=True)
    optimizer = build(config["optimizer"], parameter_groups(network))
    decay = config["trainer"]["ema_decay"]
    learner = Learner(network, optimizer, build(config["schedule"]), max_grad_norm=None, ema_decay=decay, seed=0)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    start = Checkpoint(
        model={}, config=config, class_names=["nucleus"], category_ids=[1], max_dets=400, score_threshold=0.5,
        precision="fp32", seed=0, val_ids=None, epoch=0, step=0, minutes=0.0, metrics={}, training=None,
        threshold_images=None, training_images=1, training_objects=1, intensity=FULL.to_plain(), validations=0,
        contents={}, inputs=None,
    )  # fmt: skip
    taken: list[float] = []
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        checkpoints, state = RunCheckpoints(folder, start), RunState(step=1)
        for _ in range(options.repeats + 1):
            began = time.perf_counter()
            checkpoints.save_last(state, learner.averaged.state_dict(), learner.state())
            taken.append(time.perf_counter() - began)
        megabytes = (folder / "last.pt").stat().st_size / 1e6
    seconds, minutes = median(taken[1:]), config["trainer"]["checkpoint_minutes"]
    what = f"last.pt of experiment=nuclei, {megabytes:.0f} MB, {seconds / (60 * minutes):.2%} of {minutes:g} minutes"
    yield Row("checkpoint_save", what, "s", seconds, None, SHARE * 60 * minutes)


if __name__ == "__main__":
    main(arguments("Seconds that saving the state of a training takes.").parse_args())
