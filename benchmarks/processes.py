"""Training by two processes against one, with one thread each.

    python benchmarks/processes.py --nuclei DIR --check

Row ``processes``: images per second of training steps as ``train.py`` takes them (loading, losses, averaged gradients,
clipping, AdamW, averaged weights), the network of experiment=nuclei in float32, 4 images of 384 pixels in each
process. *Ours* is two processes that ``DistributedDataParallel`` joins by gloo, *stock* one process. The sides take
turns, each time in new processes. Two cores that other programs leave alone are needed.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
from harness import arguments, finish
from networks import pair, settings_of
from rows import Row
from stand_ins import nuclei

from segtrain import distributed
from segtrain.data.augmentation import Augmentation
from segtrain.data.check.load import load_index
from segtrain.data.dataset import CocoDataset, Sample
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.loader import TrainingLoader
from segtrain.training.learner import Learner, Meter, parameter_groups
from segtrain.training.schedule import Constant

BATCH, SIDE, CROP = 4, 384, 192
WARM_UP, STEPS = 3, 10
PROCESSES, BOUND = 2, 1.7


def work(annotations: Path, images: Path) -> None:
    """Train in this process, and print images per second of all processes in the first one."""
    import albumentations

    torch.set_num_threads(1)
    with distributed.joined():
        index = load_index(annotations)
        chain = {"crop": albumentations.RandomCrop(CROP, CROP, pad_if_needed=True, p=1)}
        dataset = CocoDataset(index, ImageReader(images, "auto", 10**8), Augmentation(chain, mix=None), seed=0)
        samples = [sample for place in range(BATCH) if isinstance(sample := dataset[0, place], Sample)]
        settings = settings_of("experiment=nuclei") | {"weights": None}
        names = [category.name for category in index.categories]
        network = pair(settings, names, [sample.image for sample in samples], SIDE)[0].train()
        learner = Learner(
            network, torch.optim.AdamW(parameter_groups(network), lr=1e-6, fused=True), Constant(0, 1.0),
            max_grad_norm=10.0, ema_decay=0.98, seed=0,
        )  # fmt: skip
        part = (distributed.rank(), distributed.size())
        loader = TrainingLoader(dataset, batch_size=BATCH * part[1], workers=0, seed=0, part=part)
        meter, step, seen, started = Meter(), 0, 0, 0.0
        for epoch in range(WARM_UP + STEPS):
            for batch in loader.epoch(epoch):
                if step == WARM_UP:
                    distributed.barrier()
                    seen, started = 0, time.perf_counter()
                learner.train_step([batch], step, 0.0, meter)
                step, seen = step + 1, seen + batch.total
                if step == WARM_UP + STEPS:
                    if distributed.is_first():
                        print(seen / (time.perf_counter() - started))
                    return


def images_per_second(count: int, annotations: Path, images: Path) -> float:
    """Start some processes that train together, and return their images per second."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--worker", str(annotations), str(images)]
    started = [
        subprocess.Popen(command, env={**os.environ, **group, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(count)
    ]
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit("a process has failed; its last lines stand above")
    return float(printed[0].splitlines()[-1])


def main(options: argparse.Namespace) -> None:
    """Measure the row."""
    rates: dict[int, list[float]] = {1: [], PROCESSES: []}
    with nuclei(options) as splits:
        split = splits[0]
        for _ in range(options.repeats):
            for count, found in rates.items():
                found.append(images_per_second(count, split.annotations, split.images))
    load = os.getloadavg()[1]
    what = f"{PROCESSES} processes of one thread against one, {BATCH} images of {SIDE} px each, {split.name}; "
    what += f"load of the machine at the end: {load:.1f}"
    one, together = (median(found) for found in rates.values())
    finish([Row("processes", what, "images/s", together, one, BOUND, greater=True)], options)


if __name__ == "__main__":
    parser = arguments("Training by two processes against one.")
    parser.add_argument("--worker", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(*given.worker)
    else:
        main(given)
