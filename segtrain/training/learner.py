"""One optimizer step and the state it changes: weights, their moving average, the schedule, the meters."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segtrain.data.dataset import Skipped
from segtrain.data.loader import Batch
from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.training.checkpoint import restore_weights
from segtrain.training.schedule import Schedule

logger = logging.getLogger(__name__)


class WeightAverage:
    """Follows a module's weights and buffers.

    Args:
        module: what to follow.
        decay: of the average, in (0, 1). The first updates use (1 + n) / (10 + n) where that is less, so that the
            random start is forgotten at once (as in TensorFlow's ``ExponentialMovingAverage``).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._module = module
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take one step of the module into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, values = [], []
        for name, value in self._module.state_dict().items():
            if value.is_floating_point():
                averages.append(self.state[name])
                values.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the averaged weights inside, and its own again afterwards."""
        own = {name: value.detach().clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self.state)
        try:
            yield
        finally:
            self._module.load_state_dict(own)

    def load(self, state: dict[str, Tensor], updates: int) -> None:
        """Go on from a saved average."""
        self.updates = updates
        for name, value in state.items():
            self.state[name].copy_(value)


class Meter:
    """Watches the training loop.

    Attributes:
        last_loss: sum of the loss terms of the last batch.
        skipped: ids of the images that could not be read so far.
    """

    def __init__(self) -> None:
        self.last_loss = float("nan")
        self.skipped: set[int] = set()
        self._reset()

    def add(self, losses: Mapping[str, float], images: int, share: float) -> None:
        """Take in the loss terms of a batch.

        Args:
            losses: by name.
            images: of the batch.
            share: of the batch in its step, in (0, 1].
        """
        for name, value in losses.items():
            self._losses[name] += value * share
        self.last_loss = sum(losses.values())
        self._images += images

    def end_step(self, gradient_norm: float) -> None:
        """Close a step; the norm is the one before clipping."""
        self._steps += 1
        self._norm += gradient_norm

    def time_step(self, seconds: float, waited: float) -> None:
        """Take in what a step took, and how much of that was waiting for data."""
        self._seconds += seconds
        self._waited += waited

    def skip(self, skipped: Sequence[Skipped]) -> None:
        """Say once of each image that it cannot be read."""
        for image in skipped:
            if image.image_id not in self.skipped:
                self.skipped.add(image.image_id)
                logger.warning("skipped, %d so far: %s", len(self.skipped), image.reason)

    def flush(self) -> dict[str, float]:
        """Means over the steps since the last call."""
        losses = {name: value / self._steps for name, value in self._losses.items()}
        values = {
            "train/loss": sum(losses.values()),
            **{f"train/{name}": value for name, value in losses.items()},
            "train/gradient_norm": self._norm / self._steps,
            "train/images_per_second": self._images / self._seconds,
            "train/data_wait_share": self._waited / self._seconds,
            "train/skipped_images": float(len(self.skipped)),
        }
        self._reset()
        return values

    def _reset(self) -> None:
        self._losses: defaultdict[str, float] = defaultdict(float)
        self._steps, self._images = 0, 0
        self._seconds, self._waited, self._norm = 0.0, 0.0, 0.0


class Learner:
    """A segmenter with all that makes it learn.

    Args:
        segmenter: on its device.
        optimizer: over its parameters.
        schedule: of the learning rate.
        max_grad_norm: gradients longer than this are shortened to it; None for no limit.
        ema_decay: of the averaged weights; None for none.
        seed: of the draws of anchors and regions.
    """

    def __init__(
        self,
        segmenter: MaskRCNN,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        *,
        max_grad_norm: float | None,
        ema_decay: float | None,
        seed: int,
    ) -> None:
        self.segmenter, self.optimizer, self.schedule = segmenter, optimizer, schedule
        self.average = None if ema_decay is None else WeightAverage(segmenter, ema_decay)
        self._base_rates = [group["lr"] for group in optimizer.param_groups]
        self._max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm
        self._seed = seed

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def weights(self) -> dict[str, Tensor]:
        """What to segment with: the average where there is one."""
        return self.segmenter.state_dict() if self.average is None else self.average.state

    def using_weights(self) -> AbstractContextManager[None]:
        """The segmenter holds ``weights`` inside."""
        return nullcontext() if self.average is None else self.average.applied()

    def take_step(self, batches: Sequence[Batch], step: int, progress: float, meter: Meter) -> None:
        """Take one step along the mean gradient of some batches.

        Args:
            batches: none of them empty.
            step: steps taken so far.
            progress: of the training, in [0, 1].
            meter: takes in the losses and the gradient's norm.

        Raises:
            SegtrainError: a loss is not finite; names the step, the images and each term.
        """
        factor = self.schedule.factor(progress, step)
        for group, rate in zip(self.optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor
        # The draws of anchors and regions depend on the seed and the step alone, so a resumed run repeats them.
        # Mixed by NumPy: torch's generator on the CPU takes 32 bits of a seed and drops the rest.
        torch.manual_seed(int(np.random.SeedSequence([self._seed, step]).generate_state(1)[0]))
        for batch in batches:
            terms = self.segmenter.losses(batch.images, batch.targets)
            stacked = torch.stack(list(terms.values()))
            values = dict(zip(terms, stacked.detach().tolist(), strict=True))
            if not all(map(math.isfinite, values.values())):
                raise SegtrainError(_describe_divergence(step, batch, values))
            torch.autograd.backward(stacked.sum() / len(batches))
            meter.add(values, len(batch.images), share=1 / len(batches))
        norm = nn.utils.clip_grad_norm_(self.segmenter.parameters(), self._max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update()
        meter.end_step(float(norm))

    def state(self) -> dict[str, Any]:
        """What resuming needs beside ``weights``."""
        return {
            "model": self.segmenter.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema_updates": None if self.average is None else self.average.updates,
        }

    def restore(self, state: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Go on from a saved state.

        Raises:
            SegtrainError: it belongs to another model.
        """
        restore_weights(self.segmenter, state["model"], "the checkpoint to resume")
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except (ValueError, KeyError) as error:
            raise SegtrainError(
                f"the checkpoint to resume has an optimizer over other parameters ({error}); repeat the optimizer and "
                "segmenter.frozen_stages of that run"
            ) from None
        if self.average is not None:
            # Without an average so far, it begins at the restored weights.
            average, updates = (
                (weights, state["ema_updates"]) if state["ema_updates"] is not None else (state["model"], 0)
            )
            self.average.load(dict(average), updates)


def _describe_divergence(step: int, batch: Batch, values: Mapping[str, float]) -> str:
    terms = ", ".join(f"{name}={value:.4g}" for name, value in values.items())
    return (
        f"the loss is not finite at step {step} (images {', '.join(map(str, batch.image_ids))}): {terms}; "
        "try a lower optimizer.lr, a longer schedule.warmup_steps or trainer.precision=fp32"
    )


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """What learns, in two groups: kernels and matrices, and norms and biases, which take no weight decay."""
    learning = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learning if p.ndim > 1]},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
