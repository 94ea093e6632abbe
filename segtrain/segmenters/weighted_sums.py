"""Weighted sums of rows, with a backward pass that is as fast as the forward one."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor


def weighted_sums(rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum K weighted rows for each of M outputs; gradients flow to the rows alone.

    On the CPU each sum is taken by one thread in a fixed order, both ways: the same values and gradients to the bit on
    any number of threads.

    Args:
        rows: (N, C).
        index: (M, K) int32, which rows.
        weight: (M, K), of the type of the rows.

    Returns:
        (M, C).
    """
    if rows.device.type != "cpu":
        return F.embedding_bag(index, rows, per_sample_weights=weight, mode="sum")
    sums: Tensor = _WeightedSums.apply(rows, index, weight)
    return sums


class _WeightedSums(torch.autograd.Function):
    """``embedding_bag`` both ways: the backward pass is the transposed sum.

    torch's own backward pass sorts the indices and adds vector by vector, which takes seven times as long.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(index, weight)
        ctx.count = len(rows)
        return F.embedding_bag(index, rows, per_sample_weights=weight, mode="sum")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        index, weight = ctx.saved_tensors
        outputs, terms = index.shape
        if not outputs:
            return gradient.new_zeros((ctx.count, gradient.shape[1])), None, None
        starts = np.arange(0, outputs * terms + 1, terms, dtype=np.int32)
        matrix = csr_array((weight.flatten().numpy(), index.flatten().numpy(), starts), shape=(outputs, ctx.count))
        transposed = matrix.tocsc()
        return (
            F.embedding_bag(
                torch.from_numpy(transposed.indices),
                gradient.contiguous(),
                torch.from_numpy(transposed.indptr),
                per_sample_weights=torch.from_numpy(transposed.data),
                mode="sum",
                include_last_offset=True,
            ),
            None,
            None,
        )
