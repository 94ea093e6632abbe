"""Breakdown of the time of a training step and of an inference: processor time by kind of operation.

    python benchmarks/breakdown.py --nuclei DIR --weights FILE [--checkpoint FILE] [--precision fp32]

The network is that of experiment=nuclei: a step on 4 images of 384 pixels as in train_step.py, and with a checkpoint
the inference of an image of 256x256 pixels as in predict.py. Everything runs on one thread, and processor time is
counted, so that other programs matter little. Each operation below autograd is timed by itself, and the least time of
several repetitions counts. What the processor spends beyond that is "between operations": Python, autograd, dispatch,
and suppression, which runs on threads of its own. Rates are beside the best ones of this machine, measured first: of
products of 2048x2048 matrices, and of the 3x3 convolution with 64 channels at 96x96 cells.
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from segtrain.data.augmentation import Augmentation  # noqa: F401 - before torch, see there

import torch  # isort: skip
import torch.nn.functional as F
from detectors import from_checkpoint
from items import items_of
from networks import pair, settings_of
from stand_ins import Split, nuclei
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from train_step import LEARNING_RATE, MOBILENET, batches_of, our_losses, step

from segtrain.data.check.load import load_index
from segtrain.records import to_predictions

KINDS = {  # of operations, by the beginnings of their names; without gradients some are not taken apart
    "convolution, forward": ("mkldnn.", "aten.convolution.", "aten.conv2d."),
    "convolution, backward": ("aten.convolution_backward",),
    "matrix product": ("aten.mm.", "aten.addmm.", "aten.bmm.", "aten.linear."),
    "activation": ("aten.relu", "aten.hardtanh", "aten.threshold_backward", "aten.sigmoid", "aten.clamp"),
    "copy and cast": (
        "aten._to_copy", "aten.to.", "aten.copy_", "aten.clone", "aten.contiguous", "aten.reshape", "aten.cat",
        "aten.fill", "aten.zero",
    ),
    "weighted sums of RoIAlign": ("aten._embedding_bag", "aten.embedding"),
    "resizing": ("aten.upsample",),
    "optimizer": ("aten._fused_adamw",),
}  # fmt: skip
OTHERS, BETWEEN = "other operations", "between operations"
CPU = time.process_time


class OperationTimer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records name, processor time and arithmetic of each operation inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[str, float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Time a call."""
        started = CPU()
        result = func(*args, **(kwargs or {}))
        self.calls.append((str(func), CPU() - started, operations(str(func), args, result)))
        return result


def operations(name: str, args: Sequence[Any], result: Any) -> float:
    """Count multiplications and additions of convolutions and matrix products; 0 for others."""
    if name.startswith("aten.convolution_backward"):
        return float(2 * args[0].numel() * args[2][0].numel() * sum(args[10][:2]))
    if name.startswith(KINDS["convolution, forward"]):
        return float(2 * result.numel() * args[1][0].numel())
    if name.startswith(KINDS["matrix product"]):
        return float(2 * result.numel() * args[-2].shape[-1])
    return 0.0


def least(run: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of a function in seconds."""
    times = []
    for _ in range(repeats):
        started = CPU()
        run()
        times.append(CPU() - started)
    return min(times)


def kind_of(name: str) -> str:
    """Return the kind of an operation."""
    return next((kind for kind, starts in KINDS.items() if name.startswith(starts)), OTHERS)


def break_down(title: str, run: Callable[[], object], repeats: int, peak: float) -> None:
    """Print the processor time of a function by kind of operation."""
    run()
    whole = least(run, repeats)
    runs = []
    for _ in range(repeats):
        with OperationTimer() as timer:
            run()
        runs.append(timer.calls)
    # With equal draws the same operations follow each other; what differs between repetitions is left to the rest.
    seconds: defaultdict[str, float] = defaultdict(float)
    work: defaultdict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for same in zip(*runs, strict=False):
        kind = kind_of(same[0][0])
        seconds[kind] += min(spent for _, spent, _ in same)
        work[kind] += same[0][2]
        calls[kind] += 1
    seconds[BETWEEN] = whole - sum(seconds.values())
    print(f"\n{title}: {whole * 1e3:.0f} ms\n\n| kind | ms | share | operations | GFLOP/s | of the best |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind, spent in sorted(seconds.items(), key=lambda item: -item[1]):
        rate = work[kind] / spent / 1e9
        rates = f"{rate:.0f} | {rate / peak:.0%}" if rate else " | "
        print(f"| {kind} | {spent * 1e3:.1f} | {spent / whole:.0%} | {calls[kind] or ''} | {rates} |")


def best_rates(dtype: torch.dtype) -> tuple[float, float]:
    """Measure the GFLOP/s of a matrix product, and of a 3x3 convolution of 64 channels."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    x = torch.randn(4, 64, 96, 96).to(dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3).to(dtype).to(memory_format=torch.channels_last)
    convolution = least(lambda: F.conv2d(x, weight, padding=1), 9)
    return 2 * 2048**3 / least(lambda: a @ b, 5) / 1e9, 2 * x.numel() * weight[0].numel() / convolution / 1e9


def training(options: argparse.Namespace) -> Callable[[], object]:
    """Build a training step."""
    with nuclei(options) as splits:
        batches, names = batches_of(splits[0], MOBILENET)
    settings = settings_of(*MOBILENET.overrides) | {"weights": str(options.weights) if options.weights else None}
    ours, _ = pair(settings, names, [sample.image for sample in batches[0].samples], MOBILENET.side)
    optimizer = torch.optim.AdamW([p for p in ours.train().parameters() if p.requires_grad], LEARNING_RATE, fused=True)
    return lambda: step(partial(our_losses, ours, options.precision), optimizer, batches[0])


def inference(options: argparse.Namespace) -> Callable[[], object]:
    """Build the way from an image to records."""
    split = Split(
        options.nuclei / "annotations" / "instances_val.json", options.nuclei / "images" / "val", "nuclei val"
    )
    ours, _ = from_checkpoint(options.checkpoint)
    ours.precision = options.precision
    items = items_of(split, (256, 256))
    item, categories = items[len(items) // 2], load_index(split.annotations).categories
    return lambda: to_predictions(ours.segment([item.image])[0], item.image_id, categories)


def main(options: argparse.Namespace) -> None:
    """Measure the machine, the step and the inference."""
    torch.set_num_threads(1)
    product, convolution = best_rates(torch.bfloat16 if options.precision == "bf16" else torch.float32)
    print(f"{options.precision}, one thread: matrix product {product:.0f}, convolution {convolution:.0f} GFLOP/s")
    big: list[Tensor] = [torch.randn(2**26) for _ in range(2)]
    print(f"memory: {2 * 4 * 2**26 / least(lambda: big[0].copy_(big[1]), 5) / 1e9:.0f} GB/s read and written")
    peak = max(product, convolution)
    break_down("Training step", training(options), options.repeats, peak)
    if options.nuclei and options.checkpoint:
        break_down("From image to records", inference(options), options.repeats, peak)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Processor time of a step and an inference by kind of operation.")
    parser.add_argument("--nuclei", type=Path, metavar="DIR", help="BBBC038 nuclei as COCO folder; drawn cells without")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="published weights of the backbone")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="of a training by segtrain, for the inference")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--repeats", type=int, default=8)
    main(parser.parse_args())
