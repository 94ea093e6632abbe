"""Figures of a data set on the page of a check."""

import json
import re
from pathlib import Path

import numpy as np

from segtrain.data.check.load import load_index
from segtrain.report.data_figures import DataFigures, octaves


def test_figures_count_objects_images_and_positions(tmp_path: Path) -> None:
    square = [[10, 10, 18, 10, 18, 18, 10, 18]]
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 100, "width": 200} for n in (1, 2)],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "area": 64, "bbox": [10, 10, 8, 8], "segmentation": square}
            for n in (1, 2, 3)
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    figures = DataFigures.of(load_index(tmp_path / "a.json", "warn"))
    assert [(row.name, row.count) for row in figures.sizes] == [("8 to 15", 3)]
    assert {row.name: row.count for row in figures.crowding} == {"0": 1, "1": 0, "2 to 3": 1}
    drawn = dict(
        re.findall(r'x="([\d.]+)" y="[\d.]+"[^>]*fill-opacity: 1.000"><title>(\d+) objects', str(figures.positions))
    )
    assert drawn == {"20": "3"}  # the centre (14, 14) of 200 x 100 pixels lies in the second column of 16


def test_every_value_is_counted_once() -> None:
    values = np.random.default_rng(0).integers(0, 500, 1000)
    rows = octaves(values)
    assert sum(row.count for row in rows) == 1000
    assert max(row.width for row in rows) == 100
    for row in rows:
        low, _, high = row.name.partition(" to ")
        assert row.count == ((values >= int(low)) & (values <= int(high or low))).sum()
