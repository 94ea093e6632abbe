"""Gradients of a step: of batches as they are, or in parts where the memory of the device does not hold them."""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch

from segtrain import distributed
from segtrain.data.loader import Batch
from segtrain.errors import SegtrainError
from segtrain.segmenters import Trainable
from segtrain.training.parallel import Parallel, joint_means

logger = logging.getLogger(__name__)
OutOfMemoryError = torch.cuda.OutOfMemoryError
# Advice in error messages.
LESS_MEMORY = "lower trainer.batch_size, or the size that images are resized to (segmenter.max_size, segmenter.scale)"


class NotFiniteError(SegtrainError):
    """Step whose losses or gradients are not finite; the weights are those of before.

    Args:
        text: one line for the user.
        losses: loss terms of the batch by name.
        image_ids: images of the batch.
    """

    def __init__(self, text: str, losses: Mapping[str, float], image_ids: Sequence[int]) -> None:
        super().__init__(text)
        self.losses, self.image_ids = dict(losses), list(image_ids)


class Gradients:
    """Computation of the mean gradient of batches.

    Args:
        segmenter: network on its device, in the precision that it trains in.

    Attributes:
        scaler: scales losses, and so gradients, to the range of float16; does nothing in other precisions.
    """

    def __init__(self, segmenter: Trainable) -> None:
        self._segmenter = segmenter
        self._parallel = Parallel(segmenter)
        self.scaler = torch.amp.GradScaler(segmenter.device.type, enabled=segmenter.product_dtype == torch.float16)
        self._has_warned = False

    def accumulate(self, batches: Sequence[Batch], step: int, seed: Callable[[], None]) -> list[dict[str, float]]:
        """Add the mean gradient of some batches, times the scale of `scaler`, to that of the parameters.

        A batch that does not fit into the memory is computed in parts. Each loss term of a part counts by the number of
        items (images, regions, cells) that it is the mean of, so the gradient is that of the whole batch for the same
        draws, up to rounding.

        Args:
            batches: batches with at least one image each, in one of the processes.
            step: steps taken so far, for messages.
            seed: seeds the draws within the step; called again for each attempt.

        Returns:
            The loss terms of each batch by name.

        Raises:
            NotFiniteError: a loss term is not finite.
            SegtrainError: the memory does not hold a single image.
        """
        parts = [[batch] for batch in batches]
        while True:
            try:
                return self.attempt(parts, step, seed)
            except OutOfMemoryError:
                self._segmenter.zero_grad()
            # Here the failed attempt's tensors are free.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            parts = self._halve(parts)

    def attempt(self, parts: Sequence[Sequence[Batch]], step: int, seed: Callable[[], None]) -> list[dict[str, float]]:
        """Add the mean gradient of some batches, each as one or several parts; see `accumulate`.

        Raises:
            OutOfMemoryError: the memory of a CUDA device does not hold it.
        """
        seed()
        return [self._add(own, step, of=len(parts), last=number == len(parts)) for number, own in enumerate(parts, 1)]

    def _add(self, parts: Sequence[Batch], step: int, *, of: int, last: bool) -> dict[str, float]:
        """Add the gradient of one of several batches, and return its loss terms."""
        losses: defaultdict[str, float] = defaultdict(float)
        with self._parallel.step(last=last):
            for part, shares in zip(parts, self._shares(parts), strict=True):
                terms, items = self._parallel.losses(part)
                stacked = torch.stack(list(terms.values()))
                means, factors = joint_means(stacked.detach().tolist(), items)
                for name, mean in zip(terms, means, strict=True):
                    losses[name] += mean * shares.get(name, 1.0)
                weights = [factor * shares.get(name, 1.0) for name, factor in zip(terms, factors, strict=True)]
                torch.autograd.backward(self.scaler.scale((stacked * stacked.new_tensor(weights)).sum() / of))
                if not all(map(math.isfinite, means)):
                    own = [] if all(map(math.isfinite, stacked.tolist())) else part.image_ids
                    raise NotFiniteError(*_describe(step, list(chain(*distributed.gather(own))), losses))
        return dict(losses)

    def _shares(self, parts: Sequence[Batch]) -> list[dict[str, float]]:
        """Return the share of each part in each mean of the whole batch; empty for a batch as it is."""
        if len(parts) == 1:
            return [{}]
        devices = [self._segmenter.device] if self._segmenter.device.type == "cuda" else []
        counts: list[dict[str, int]] = []
        with torch.random.fork_rng(devices), torch.no_grad():
            for part in parts:
                terms, items = self._parallel.losses(part)
                counts.append(dict(zip(terms, items, strict=True)))
        totals = {name: max(sum(own[name] for own in counts), 1) for name in counts[0]}
        return [{name: count / totals[name] for name, count in own.items()} for own in counts]

    def _halve(self, parts: Sequence[Sequence[Batch]]) -> list[list[Batch]]:
        """Divide every part with more than one image."""
        every = list(chain(*parts))
        images = describe_images(every)
        most, device = max(len(part.images) for part in every), self._segmenter.device
        if distributed.size() > 1 or most < 2:
            raise SegtrainError(f"the memory of {device} does not hold the step: {images}; {LESS_MEMORY}")
        if not self._has_warned:
            logger.warning(
                f"the memory of {device} does not hold a step, whose batch is computed in parts: {images}; "
                f"trainer.batch_size={most // 2} avoids it"
            )
            self._has_warned = True
        return [[half for batch in part for half in _halves(batch)] for part in parts]


def describe_images(batches: Sequence[Batch]) -> str:
    """Return the images of some batches, with the number of objects in each, for a message."""
    return "; ".join(
        f"image {image_id} with {len(target)} objects"
        for batch in batches
        for image_id, target in zip(batch.image_ids, batch.targets, strict=True)
    )


def _halves(batch: Batch) -> list[Batch]:
    if len(batch.images) < 2:
        return [batch]
    middle = len(batch.images) // 2
    return [
        Batch(batch.images[half], batch.targets[half], batch.image_ids[half], [], len(batch.images[half]))
        for half in (slice(middle), slice(middle, None))
    ]


def _describe(
    step: int, image_ids: Sequence[int], losses: Mapping[str, float]
) -> tuple[str, Mapping[str, float], Sequence[int]]:
    terms = ", ".join(f"{name}={value:.4g}" for name, value in losses.items())
    text = (
        f"the loss is not finite at step {step} (images {', '.join(map(str, image_ids))}): {terms}; "
        "try a lower optimizer.lr, a longer schedule.warmup_steps or trainer.precision=fp32"
    )
    return text, losses, image_ids


def norms_by_part(segmenter: torch.nn.Module) -> dict[str, float]:
    """Compute the norm of the gradient of each part of a network, a part being two levels of names.

    Args:
        segmenter: network after a backward pass.
    """
    squares: defaultdict[str, float] = defaultdict(float)
    for name, parameter in segmenter.named_parameters():
        if parameter.grad is not None:
            squares[".".join(name.split(".")[:2])] += float(parameter.grad.double().square().sum())
    return {name: math.sqrt(value) for name, value in squares.items()}
