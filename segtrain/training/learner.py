"""Optimizer step and the state that it changes: weights, moving average, learning rate, meter."""

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from segtrain import distributed
from segtrain.data.dataset import Skipped
from segtrain.data.loader import Batch
from segtrain.segmenters import Trainable
from segtrain.training.checkpoint import restore_weights
from segtrain.training.gradients import Gradients, NotFiniteError
from segtrain.training.optimizer_state import restore_optimizer
from segtrain.training.parallel import batch_norms, running_statistics
from segtrain.training.schedule import Schedule

logger = logging.getLogger(__name__)
Tensors = tuple[Tensor, ...] | list[Tensor]


class EMA(AveragedModel):
    """Exponential moving average of a network's parameters and buffers; ``module`` holds it.

    Args:
        network: network to follow, on its device; the average begins at its present state.
        decay: weight of the past, in (0, 1). Update n uses (1 + n) / (10 + n) where that is less, so that the initial
            weights are soon forgotten (as in TensorFlow's ``ExponentialMovingAverage``).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        def blend(averages: Tensors, values: Tensors, count: Tensor | int) -> None:
            if averages[0].is_floating_point():
                updates = int(count)
                torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + updates) / (10 + updates)))
            else:  # counts, such as num_batches_tracked
                torch._foreach_copy_(averages, values)

        super().__init__(network, multi_avg_fn=torch.no_grad()(blend), use_buffers=True)
        self.update_parameters(network)  # the first call only copies

    @property
    def updates(self) -> int:
        """Number of steps in the average."""
        return int(self.n_averaged) - 1

    def restore(self, state: Mapping[str, Tensor], updates: int, source: str = "the checkpoint to resume") -> None:
        """Continue from a saved average of ``updates`` steps; ``source`` is the path of the file, for messages."""
        restore_weights(self.module, state, source)
        self.n_averaged.fill_(updates + 1)


class Meter:
    """Running means of the training loop between two log entries.

    Attributes:
        last_loss: sum of the loss terms of the latest batch; nan before the first one.
        skipped: ids of the images that could not be read so far.
        left_out: number of steps that were left out so far, because their loss was not finite.
        left_out_in_a_row: number of the latest steps among them; 0 after a step that was not left out.
    """

    def __init__(self) -> None:
        self.left_out = self.left_out_in_a_row = 0
        self.last_loss = float("nan")
        self.skipped: set[int] = set()
        self._reset()

    def add(self, losses: Mapping[str, float], images: int, share: float) -> None:
        """Add the loss terms of a batch.

        Args:
            losses: loss terms by name.
            images: number of images in the batch.
            share: weight of the batch in its step, in (0, 1].
        """
        for name, value in losses.items():
            self._losses[name] += value * share
        self.last_loss = sum(losses.values())
        self._images += images

    def end_step(self, gradient_norm: float) -> None:
        """Close a step; the norm is the one before clipping."""
        self._steps += 1
        self._norm += gradient_norm
        self.left_out_in_a_row = 0

    def leave_step_out(self) -> None:
        """Count a step whose loss was not finite."""
        self.left_out += 1
        self.left_out_in_a_row += 1

    def time_step(self, seconds: float, waited: float) -> None:
        """Add the seconds that a step took, and how many of them it waited for data."""
        self._seconds += seconds
        self._waited += waited

    def skip(self, skipped: Sequence[Skipped]) -> None:
        """Log each image that cannot be read once."""
        for image in skipped:
            if image.image_id not in self.skipped:
                self.skipped.add(image.image_id)
                logger.warning("skipped, %d so far: %s", len(self.skipped), image.reason)

    def state(self) -> dict[str, Any]:
        """Return what was added since the last call of `compute_and_reset`, as plain values."""
        sums = {"steps": self._steps, "images": self._images, "seconds": self._seconds, "waited": self._waited}
        left_out = {"left_out": self.left_out, "left_out_in_a_row": self.left_out_in_a_row}
        return {"losses": dict(self._losses), **sums, "norm": self._norm, "skipped": sorted(self.skipped), **left_out}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: result of `state`.
        """
        self._losses.update(state["losses"])
        self._steps, self._images = state["steps"], state["images"]
        self._seconds, self._waited, self._norm = state["seconds"], state["waited"], state["norm"]
        self.skipped, self.left_out = set(state["skipped"]), state["left_out"]
        self.left_out_in_a_row = state.get("left_out_in_a_row", 0)  # which files of before lack

    def compute_and_reset(self) -> dict[str, float]:
        """Return the means over the steps since the last call, by their names in the log."""
        steps = self._steps or math.nan  # none, if all were left out
        losses = {name: value / steps for name, value in self._losses.items()}
        values = {
            "train/loss": sum(losses.values()),
            **{f"train/{name}": value for name, value in losses.items()},
            "train/gradient_norm": self._norm / steps,
            "train/images_per_second": self._images / self._seconds,
            "train/data_wait_share": self._waited / self._seconds,
            "train/skipped_images": float(len(self.skipped)),
            "train/steps_left_out": float(self.left_out),
        }
        self._reset()
        return values

    def _reset(self) -> None:
        self._losses: defaultdict[str, float] = defaultdict(float)
        self._steps, self._images = 0, 0
        self._seconds, self._waited, self._norm = 0.0, 0.0, 0.0


class Learner:
    """A network, its optimizer, its learning rate schedule and its moving average.

    Args:
        segmenter: network on its device.
        optimizer: optimizer of the network's parameters.
        schedule: factor of the learning rate by progress and step.
        max_grad_norm: gradients longer than this are shortened to it; None for no limit.
        ema_decay: decay of the moving average of the weights; None for no average.
        seed: seed of random draws within a step.

    Attributes:
        gradients: gradients of the network.
    """

    def __init__(
        self,
        segmenter: Trainable,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        *,
        max_grad_norm: float | None,
        ema_decay: float | None,
        seed: int,
    ) -> None:
        self.segmenter, self.optimizer, self.schedule = segmenter, optimizer, schedule
        self.gradients = Gradients(segmenter)
        # Running statistics change in the forward pass, before it is known whether the step is taken.
        self._running = [value for norm in batch_norms(segmenter) for value in running_statistics(norm)]
        self._statistics: list[tuple[Tensor, Tensor]] = []
        self.ema = None if ema_decay is None else EMA(segmenter, ema_decay)
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        self._max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm
        self._seed = seed

    @property
    def learning_rate(self) -> float:
        """Learning rate of the latest step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def loss_scale(self) -> float:
        """Factor of the losses in float16; 1 in other precisions."""
        return self.gradients.scaler.get_scale()

    @property
    def averaged(self) -> Trainable:
        """Network to segment with: the moving average if there is one."""
        return self.segmenter if self.ema is None else cast("Trainable", self.ema.module)

    def train_step(self, batches: Sequence[Batch], step: int, progress: float, meter: Meter) -> None:
        """Take one optimizer step along the mean gradient of some batches.

        In float16 a step is left out whose gradient, of scaled losses, is not finite, and the scale is halved.

        Args:
            batches: batches with at least one image each, in one of the processes.
            step: steps taken so far.
            progress: share of the training that is done, in [0, 1].
            meter: receives the losses and the norm of the gradient.

        Raises:
            NotFiniteError: a loss or the gradient is not finite; the message names the step, the images and each term.
        """
        factor = self.schedule.factor(progress, step)
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor
        self._statistics = [(value, value.clone()) for value in self._running]
        losses = self.gradients.accumulate(batches, step, lambda: self._seed_draws(step))
        scaler = self.gradients.scaler
        scaler.unscale_(self.optimizer)
        norm = self._clip_gradient()
        scale = scaler.get_scale()
        if math.isfinite(norm):
            scaler.step(self.optimizer)
        scaler.update()
        if not math.isfinite(norm) and scale > 1:  # beyond float16, which a smaller scale can mend
            self.leave_step_out()
            halved = scaler.get_scale()
            logger.info(
                f"step {step} left out: its gradient exceeds float16; losses count {halved:g} times from here on"
            )
            return
        if not math.isfinite(norm):
            image_ids = [image_id for batch in batches for image_id in batch.image_ids]
            images = ", ".join(map(str, image_ids))
            text = f"the gradient is not finite at step {step} (images {images}); try a lower optimizer.lr"
            raise NotFiniteError(text, losses[-1], image_ids)
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(self.segmenter)
        for batch, values in zip(batches, losses, strict=True):
            meter.add(values, batch.total, share=1 / len(batches))
        meter.end_step(norm)

    def _clip_gradient(self) -> float:
        """Shorten a long gradient, and return its norm; one that is not finite stays as it is, and has none (nan)."""
        parameters = self.segmenter.parameters()
        try:
            return float(nn.utils.clip_grad_norm_(parameters, self._max_grad_norm, error_if_nonfinite=True))
        except RuntimeError as error:  # has no class of its own
            if "non-finite" not in str(error):
                raise
            return math.nan

    def leave_step_out(self) -> None:
        """Restore what a step has changed that raised `NotFiniteError`."""
        self.optimizer.zero_grad()
        for value, before in self._statistics:
            value.copy_(before)

    def seed_of(self, step: int) -> int:
        """Return the seed of the draws of anchors and regions within a step.

        It depends on the seed of the run, the step and the process alone, so a resumed run repeats the draws.

        Args:
            step: steps taken before.
        """
        # Mixed by NumPy: torch's generator on the CPU takes 32 bits of a seed and drops the rest.
        process = [distributed.rank()] if distributed.rank() else []
        return int(np.random.SeedSequence([self._seed, step, *process]).generate_state(1)[0])

    def _seed_draws(self, step: int) -> None:
        torch.manual_seed(self.seed_of(step))

    def state(self) -> dict[str, Any]:
        """Return the state that resuming needs in addition to the weights of `averaged`."""
        scaler = self.gradients.scaler
        return {
            "model": self.segmenter.state_dict(),
            "optimizer": (optimizer := self.optimizer.state_dict()),
            "optimizer_entries": len(optimizer["state"]),  # parameters without a gradient so far have none
            "ema_updates": None if self.ema is None else self.ema.updates,
            **({"scaler": scaler.state_dict()} if scaler.is_enabled() else {}),
        }

    def restore(
        self, state: Mapping[str, Any], averaged: Mapping[str, Tensor], source: str = "the checkpoint to resume"
    ) -> None:
        """Continue from a saved state.

        Args:
            state: result of `state`.
            averaged: weights of the moving average, if the saved run had one.
            source: path of the file, for messages.

        Raises:
            SegtrainError: the state belongs to another model or optimizer.
        """
        restore_weights(self.segmenter, state["model"], source)
        restore_optimizer(self.optimizer, state["optimizer"], source, state.get("optimizer_entries"))
        if "scaler" in state and self.gradients.scaler.is_enabled():
            self.gradients.scaler.load_state_dict(state["scaler"])
        if self.ema is not None and state["ema_updates"] is not None:
            self.ema.restore(averaged, state["ema_updates"], source)
        elif self.ema is not None:  # without an average so far, it begins at the restored weights
            self.ema.restore(state["model"], 0, source)


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Return the parameters that learn as two groups: kernels and matrices; norms and biases, without weight decay."""
    learning = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learning if p.ndim > 1]},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
