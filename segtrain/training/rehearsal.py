"""Rehearsals of steps: timed forward and backward passes on chosen images, which do not change the run."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress

import numpy as np
import torch

from segtrain.data.loader import Batch
from segtrain.memory import restart_peak_memory
from segtrain.memory_guard import sparing_memory
from segtrain.segmenters import Trainable
from segtrain.training.gradients import Gradients, NotFiniteError
from segtrain.training.optimizer_state import step_of_copy

_PROBE = 1024  # numbers in the parameter that an optimizer is tried on


@contextmanager
def without_trace(segmenter: Trainable) -> Iterator[None]:
    """Restore the state of a training at the end of the context.

    Buffers (statistics of norms), the mode and all random states are restored at the end, gradients are dropped, and
    the peak of the memory begins again. Weights, optimizer and averages do not change without an optimizer's step.

    Args:
        segmenter: network that computes losses inside.
    """
    buffers = [(buffer, buffer.clone()) for buffer in segmenter.buffers()]
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - of libraries that still use it
    devices = [segmenter.device] if segmenter.device.type == "cuda" else []
    was_training = segmenter.training
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        segmenter.zero_grad()
        segmenter.train(was_training)
        restart_peak_memory(segmenter.device)


def rehearse(segmenter: Trainable, gradients: Gradients, batch: Batch, *, sparing: bool = False) -> float:
    """Compute the gradient of a batch, drop it, and return the seconds that it took; see `without_trace`.

    Args:
        segmenter: network that computes losses.
        gradients: gradients of the network.
        batch: images of this process.
        sparing: True to stop if little memory of the machine is left.

    Raises:
        NotEnoughMemoryError: it was stopped because little memory was left.
        SegtrainError: the memory of a CUDA device does not hold a single image.
    """

    def take() -> None:
        with sparing_memory(segmenter.device) if sparing else nullcontext(), suppress(NotFiniteError):
            gradients.accumulate([batch], 0, seed_draws)

    segmenter.train()
    try:
        return timed(take, segmenter.device)
    finally:
        segmenter.zero_grad()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that some work takes, until the device has finished it.

    >>> timed(lambda: torch.ones(3).sum(), torch.device("cpu")) < 10
    True
    """
    _wait_for(device)
    started = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - started


def pending_state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Estimate the bytes that the first step of an optimizer adds, such as Adam's two means of each parameter.

    Args:
        optimizer: optimizer, which stays as it is.

    >>> weight = torch.nn.Parameter(torch.zeros(1000))
    >>> pending_state_bytes(torch.optim.Adam([weight])), pending_state_bytes(torch.optim.SGD([weight], momentum=0.9))
    (8000, 4000)
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    pending = [p for p in parameters if not optimizer.state.get(p)]
    if not pending:
        return 0
    probe = torch.zeros(_PROBE, device=pending[0].device)
    state = step_of_copy(optimizer, optimizer.param_groups[0], probe, {})
    if state is None:  # not known; as many as those of Adam
        return int(2 * sum(p.nbytes for p in pending))
    kept = sum(v.nbytes for v in state.values() if isinstance(v, torch.Tensor) and v.numel() == _PROBE)
    return int(sum(p.nbytes for p in pending) * kept / probe.nbytes)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seed_draws() -> None:
    """Seed the draws of a rehearsed step, the same in each."""
    torch.manual_seed(0)
