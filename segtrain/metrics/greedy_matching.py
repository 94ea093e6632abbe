"""COCO's greedy matching (``pycocotools.cocoeval.evaluateImg``) of detections and true instances whose IoU is known."""

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def match_greedily(
    overlaps: FloatArray, crowd: BoolArray, ignored: BoolArray, thresholds: FloatArray
) -> tuple[IntArray, IntArray]:
    """Match the detections of one image and category, at all thresholds and areas at once.

    Best score first, each takes the free truth that it overlaps most, the last of equal ones; a truth to ignore only
    where no other will do. A crowd is never used up.

    Args:
        overlaps: (D, G) IoU, best detection first.
        crowd: (G,).
        ignored: (A, G) truths that do not count, crowds among them.
        thresholds: (T,) IoU that a match needs at least.

    Returns:
        For each detection its truth, (T, A, D), and for each truth its last detection, (T, A, G); -1 for none.
    """
    least = np.minimum(thresholds, 1 - 1e-10)
    shape = (len(thresholds), len(ignored))
    matched = np.full((*shape, overlaps.shape[0]), -1, dtype=np.int64)
    taken = np.full((*shape, overlaps.shape[1]), -1, dtype=np.int64)
    near = overlaps >= least.min()
    # Most pairs have no rival; those that have are settled one after the other.
    alone = near & (near.sum(axis=1, keepdims=True) == 1) & (near.sum(axis=0) == 1)
    row, column = np.nonzero(alone)
    enough = (overlaps[row, column] >= least[:, None])[:, None]
    matched[:, :, row] = np.where(enough, column, -1)
    taken[:, :, column] = np.where(enough, row, -1)
    for d in np.flatnonzero((near & ~alone).any(axis=1)):
        rivals = np.flatnonzero(near[d])
        overlap = overlaps[d, rivals]
        free = ((taken[:, :, rivals] < 0) | crowd[rivals]) & (overlap >= least[:, None, None])
        regular = free & ~ignored[:, rivals]
        wanted = np.where(regular.any(axis=2, keepdims=True), regular, free)
        last_best = len(rivals) - 1 - np.where(wanted, overlap, -1.0)[:, :, ::-1].argmax(axis=2)
        t, a = np.nonzero(wanted.any(axis=2))
        chosen = rivals[last_best[t, a]]
        matched[t, a, d] = chosen
        taken[t, a, chosen] = d
    return matched, taken
