"""Training of one network by several processes: averaged gradients, and batch norms that see the whole batch.

Each process computes the losses of its own images. Every loss term is a mean (of images, sampled anchors, regions, mask
pixels; see `Trainable.loss_items`), so a process weighs its mean v by the number n of items in it, against the sum N of
all processes': the sum of n v / N is the mean over all items, as one process would compute it for the whole batch.
``DistributedDataParallel`` divides the sum of the gradients by the number of processes P; the factor of a term is
therefore P n / N.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from inspect import signature
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.parallel import DistributedDataParallel

from segtrain import distributed
from segtrain.data.loader import Batch
from segtrain.segmenters import Trainable
from segtrain.targets import Target

logger = logging.getLogger(__name__)
# The statistics of batch norms are the same in all processes; to send them once more would take time.
_SYNC_BUFFERS = "forward_sync_buffers", "broadcast_buffers"  # the latter before PyTorch 2.14
_KEEP_BUFFERS: dict[str, Any] = {
    next(name for name in _SYNC_BUFFERS if name in signature(DistributedDataParallel).parameters): False
}
SIDE = 32  # pixels of the image that a process without one computes on


class Parallel:
    """A network whose gradients are averaged over all processes in the backward pass.

    The initial weights are those of the first process. Batch norms that learn compute the statistics of all
    processes' images, if the network takes its images in batches; otherwise their running statistics are averaged.

    Args:
        network: network on its device; its batch norms may be replaced, their parameters stay.
    """

    def __init__(self, network: Trainable) -> None:
        self._network = network
        self._module: nn.Module = network
        self._norms: list[SyncedBatchNorm] = []
        self._averaged: list[Tensor] = []
        if distributed.size() == 1:
            return
        device = network.device
        if not network.takes_batches:
            self._averaged = [statistic for norm in batch_norms(network) for statistic in running_statistics(norm)]
        elif device.type == "cpu":
            # Of their own, because the order in which gradients are ready may differ from process to process.
            self._norms = synchronise_norms(network, dist.new_group(backend="gloo"))
        else:
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        shared = dist.new_group(backend="gloo") if device.type == "cuda" and _is_shared(device) else None
        # Of gradients of 1x1 kernels, whose order in memory has two names.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        self._module = DistributedDataParallel(network, process_group=shared, **_KEEP_BUFFERS)

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], list[int]]:
        """Compute the loss terms of this process's images, and the number of items that each is the mean of.

        Without an image, which happens where a batch has fewer images than there are processes, they are computed on
        an empty one and count 0: the other processes wait for this one's gradients.
        """
        self._has_images = bool(batch.images)
        for norm in self._norms:
            norm.counts = self._has_images
        images, targets = batch.images, batch.targets
        if not images:
            images, targets = [torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)], [Target.empty()]
        terms: dict[str, Tensor] = self._module(images, targets)
        items = self._network.loss_items
        return terms, [items.get(name, len(images)) if batch.images else 0 for name in terms]

    @contextmanager
    def step(self, *, last: bool) -> Iterator[None]:
        """Run forward and backward pass of a batch inside.

        Args:
            last: False if gradients of further batches are added before the optimizer's step; they are averaged once.
        """
        module = self._module
        waits = module.no_sync() if isinstance(module, DistributedDataParallel) and not last else nullcontext()
        with waits, distributed.noticing_losses():
            yield
            if last and self._averaged:
                _average(self._averaged, counts=self._has_images)


def joint_means(values: Sequence[float], counts: Sequence[int]) -> tuple[list[float], list[float]]:
    """Compute means over the items of all processes, and the factors of this process's own means.

    Args:
        values: means over this process's items.
        counts: number of items of each mean; a mean of 0 items is left out, unless it is not finite.

    Returns:
        The means over all items, 0 where there is none at all; and the factors with which gradients of the own means,
        averaged over the processes, become those of the means over all items.

    >>> joint_means([0.5, 2.0], [4, 1])  # of one process: its own
    ([0.5, 2.0], [1.0, 1.0])
    """
    if distributed.size() == 1:
        return list(values), [1.0] * len(values)
    sums = distributed.total([*(value * number for value, number in zip(values, counts, strict=True)), *counts])
    everything = sums[len(values) :]
    means = [part / max(number, 1) for part, number in zip(sums, everything, strict=False)]
    processes = distributed.size()
    return means, [processes * own / max(number, 1) for own, number in zip(counts, everything, strict=True)]


class SyncedBatchNorm(BatchNorm):
    """Batch normalisation over the inputs of all processes on the CPU; PyTorch's ``SyncBatchNorm`` needs a GPU.

    Args:
        norm: norm whose parameters and statistics are taken over.
        group: process group whose inputs are normalised together.

    Attributes:
        counts: False if the input replaces a missing image, and must not change the statistics.
    """

    def __init__(self, norm: BatchNorm, group: Any) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.train(norm.training)
        self.counts = True
        # In a function, which copies of the network share: a group cannot be copied.
        self._sum: Callable[[Tensor], Tensor] = lambda own: _Sum.apply(own, group)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take inputs of any number of dimensions; the norm that this one replaces would have one."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the mean and the variance of the inputs of all processes."""
        if not self.training:
            return super().forward(input)
        x = input if input.dtype == torch.float64 else input.float()
        dims = [0, *range(2, x.ndim)]
        var, mean = (part.double() for part in torch.var_mean(x, dims, correction=0))
        own = mean.new_tensor([x.numel() / x.shape[1] * self.counts])
        # In double precision, because the square of the mean is added here and subtracted again.
        sums = self._sum(torch.cat([own * mean, own * (var + mean**2), own]))
        count = sums[-1].clamp(min=1)
        mean, squares = (sums[:-1] / count).chunk(2)
        var = squares - mean**2
        self._follow(mean.detach(), (var * count / (count - 1).clamp(min=1)).detach())
        scale = torch.rsqrt(var + self.eps) * (1 if self.weight is None else self.weight)
        shift = (0 if self.bias is None else self.bias) - mean * scale
        shape = [1, -1, *(1 for _ in dims[1:])]
        return torch.addcmul(shift.to(x).view(shape), x, scale.to(x).view(shape)).to(input.dtype)

    def _follow(self, mean: Tensor, var: Tensor) -> None:
        """Update the running statistics."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, value in zip(running_statistics(self), (mean, var), strict=True):
            running.lerp_(value.to(running), share)


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """List the batch norms below a module that learn and keep statistics."""
    return [part for part in module.modules() if isinstance(part, BatchNorm) and part.track_running_stats]


def running_statistics(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the running mean and variance of a norm."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def synchronise_norms(network: nn.Module, group: Any) -> list[SyncedBatchNorm]:
    """Replace the batch norms below a module on the CPU by synchronised ones.

    Args:
        network: module to change; its parameters stay the same objects.
        group: process group whose inputs are normalised together.

    Returns:
        The new norms.
    """
    found: list[SyncedBatchNorm] = []
    for name, module in list(network.named_modules()):
        if isinstance(module, BatchNorm) and module.track_running_stats:
            found.append(SyncedBatchNorm(module, group))
            path, _, last = name.rpartition(".")
            setattr(network.get_submodule(path), last, found[-1])
    return found


class _Sum(torch.autograd.Function):
    """Sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Any) -> Tensor:
        ctx.group = group
        summed = own.clone()
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed, group=ctx.group)
        return summed, None


def scale_learning_rate(optimizer: torch.optim.Optimizer, rule: Literal["auto", "none"], images: int) -> None:
    """Scale the learning rate by the number of processes, and log it; a single process leaves it unchanged.

    Sources: P. Goyal et al., Accurate, Large Minibatch SGD, 2017 (linear); S. Malladi et al., On the SDEs and Scaling
    Rules for Adaptive Gradient Algorithms, 2022 (the square root).

    Args:
        optimizer: optimizer with the rate as given.
        rule: "auto" to scale, "none" to leave it.
        images: images of a step in each process.
    """
    processes = distributed.size()
    if processes == 1:
        return
    given = optimizer.param_groups[0]["lr"]
    linear = isinstance(optimizer, torch.optim.SGD)
    factor = processes if linear else math.sqrt(processes)
    step = f"{processes * images} images a step ({processes} processes x {images})"
    name = "linear" if linear else "square root"
    if rule == "none":
        logger.info(f"learning rate {given:g} as given, for {step}; trainer.scale_lr=auto makes it {given * factor:g}")
        return
    for group in optimizer.param_groups:
        group["lr"] *= factor
    logger.info(f"learning rate {given * factor:g} for {step}: {given:g} as given, times {factor:.3g} ({name} rule)")


def _average(statistics: Sequence[Tensor], *, counts: bool) -> None:
    """Replace tensors by their means over all processes that count."""
    flat = torch.cat([*(statistic.flatten() for statistic in statistics), statistics[0].new_ones(1)]).cpu() * counts
    dist.all_reduce(flat)
    means = flat[:-1] / flat[-1]
    for statistic, part in zip(statistics, torch.split(means, [len(s) for s in statistics]), strict=True):
        statistic.copy_(part)


def _is_shared(device: torch.device) -> bool:
    """Return True if two processes compute on one CUDA device, between which NCCL refuses to communicate."""
    used = distributed.gather(str(torch.cuda.get_device_properties(device).uuid))
    return len(set(used)) < len(used)
