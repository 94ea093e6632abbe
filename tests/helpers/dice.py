"""Example metrics: the Dice coefficient, which segtrain does not have, and a metric that is always 0."""

from dataclasses import replace

import numpy as np

from segtrain.arrays import FloatArray
from segtrain.metrics.mean_iou import BOTH, EITHER, TRUE
from segtrain.metrics.metric import RatioMetric
from segtrain.metrics.registry import class_pixels


def dice_of_sums(sums: FloatArray) -> FloatArray:
    """Compute 2 |P n G| / (|P| + |G|); the sum of both areas is union plus intersection; nan without a true pixel."""
    both, either = sums[..., BOTH], sums[..., EITHER]
    return np.divide(2 * both, either + both, out=np.full(both.shape, np.nan), where=sums[..., TRUE] > 0)


DICE = RatioMetric(
    key="dice",
    title="Dice",
    hint="Dice coefficient of the categories' pixels",
    definition="Twice the pixels that predicted and true objects share, over the sum of both areas.",
    source="Dice, Measures of the Amount of Ecologic Association Between Species (1945)",
    uses="operating_point",
    kind="pixels",
    counts=lambda inputs: inputs.once(class_pixels)[:, 1:],
    ratio=dice_of_sums,
    headline=True,
    category_key="dice",
)
ZERO = replace(
    DICE,
    key="zero",
    title="Always zero",
    kind="objects",
    ratio=lambda sums: np.where(sums[..., TRUE] > 0, 0.0, np.nan),
    headline=False,
    category_key=None,
)
