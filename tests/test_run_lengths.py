"""Run-length code of many masks at once, against pycocotools' own decoder."""

import numpy as np
from hypothesis import given, settings
from pycocotools import mask as coco_mask
from random_instances import Planes, scenes

from segtrain import masks, run_lengths


@settings(max_examples=200, deadline=None)
@given(scenes())
def test_runs_are_the_pixels_of_each_mask(drawn: tuple[tuple[int, int], Planes]) -> None:
    size, planes = drawn
    planes = [*planes, np.zeros(size, dtype=bool), np.ones(size, dtype=bool)]
    codes = [coco_mask.encode(np.asfortranarray(plane, dtype=np.uint8))["counts"].decode() for plane in planes]
    number, starts, stops = run_lengths.runs(codes, size[0] * size[1])
    assert (np.diff(number) >= 0).all()
    assert (stops > starts).all()
    painted = np.zeros((len(planes), size[0] * size[1]), dtype=bool)
    for n, start, stop in zip(number, starts, stops, strict=True):
        assert not painted[n, start:stop].any()
        painted[n, start:stop] = True
    for plane, flat in zip(planes, painted, strict=True):
        assert np.array_equal(flat.reshape(size, order="F"), plane)


def test_long_runs_and_empty_runs() -> None:
    size = [100_000, 50]
    lengths = [[0, 5, 0, 0, 1, 4_000_000, 999_994], [5_000_000], [2_500_000, 2_500_000], [4_999_999, 1]]
    rles = [coco_mask.frPyObjects({"size": size, "counts": counts}, *size) for counts in lengths]
    number, starts, stops = masks.runs([masks.Rle(size=size, counts=rle["counts"].decode()) for rle in rles])
    found = list(zip(number.tolist(), starts.tolist(), stops.tolist(), strict=True))
    expected = [(0, 0, 5), (0, 6, 4_000_006), (2, 2_500_000, 5_000_000), (3, 4_999_999, 5_000_000)]
    assert found == expected


def test_no_masks() -> None:
    assert [len(part) for part in masks.runs([])] == [0, 0, 0]
