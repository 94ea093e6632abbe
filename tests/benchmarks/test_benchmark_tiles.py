"""The benchmark of windows: the true objects of its mosaic, and those that belong to a tile."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiles
from stand_ins import draw_cells
from torch import Tensor

from segtrain import masks
from segtrain.records import Instances
from segtrain.segmenters.windows import Window


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> tiles.Mosaic:
    folder = tmp_path_factory.mktemp("cells")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "SIDE", 2)
        draw_cells(folder / "cells", train_images=1, val_images=4)
        return tiles.mosaic_of(folder / "cells")


def perfect(mosaic: tiles.Mosaic) -> Instances:
    rles = [truth["segmentation"] for truth in mosaic.truths]
    count = len(rles)
    boxes = masks.boxes(rles).astype(np.float32)
    return Instances(mosaic.size, boxes, np.ones(count, np.int64), np.full(count, 0.5, np.float32), rles)


def test_true_objects_are_right(mosaic: tiles.Mosaic) -> None:
    assert mosaic.size == (256, 256)
    found = perfect(mosaic)
    assert mosaic.ap(found) == 1
    inner = mosaic.inner()
    assert inner.size == (128, 128)
    assert 0 < len(inner.truths) < len(mosaic.truths)
    assert inner.ap(tiles.inside(found, Window(64, 64, 192, 192))) == 1


def test_objects_at_a_border_of_a_tile_are_ignored(mosaic: tiles.Mosaic) -> None:
    within = mosaic.within_tiles()
    touching = [
        bool(np.isin(np.argwhere(masks.decode(truth["segmentation"])) % tiles.TILE, (0, tiles.TILE - 1)).any())
        for truth in mosaic.truths
    ]
    assert 0 < sum(touching) < len(touching)
    assert [bool(truth["iscrowd"]) for truth in within.truths] == touching
    others = tiles.Mosaic(mosaic.image, [t for t, own in zip(mosaic.truths, touching, strict=True) if not own], [])
    assert within.ap(perfect(others)) == 1
    assert mosaic.ap(perfect(others)) < 1


def test_tiles_one_by_one(mosaic: tiles.Mosaic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "SIDE", 2)
    whole = perfect(mosaic)

    def segment(images: list[Tensor]) -> list[Instances]:
        place = windows.pop(0)
        assert tuple(images[0].shape[1:]) == place.size
        return [tiles.inside(whole, place)]

    for surroundings in (0, 32):
        windows = [
            Window(
                max(t.x0 - surroundings, 0), max(t.y0 - surroundings, 0),
                min(t.x1 + surroundings, 256), min(t.y1 + surroundings, 256),
            )
            for t in mosaic.tiles
        ]  # fmt: skip
        found = tiles.one_by_one(SimpleNamespace(segment=segment), mosaic, surroundings)  # type: ignore[arg-type]
        assert not windows
        assert sorted(rle["counts"] for rle in found.rles) == sorted(rle["counts"] for rle in whole.rles)
