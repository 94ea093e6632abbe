"""An evaluation of result files on drawn squares, small enough to be counted by hand."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segtrain import masks
from segtrain.benchmark.methods import ResultFile
from segtrain.benchmark.results import Results
from segtrain.benchmark.runner import Benchmark, MethodResult
from segtrain.data.coco.reader import read_index
from segtrain.data.splits import Split
from segtrain.evaluation import TRACKS
from segtrain.report.build import build_results
from segtrain.report.row_analysis import Analyst
from tests.helpers.builders import xywh

SIZE = (160, 200)
NAMES = ("round", "lobed", "flat", *(f"c{n}" for n in range(4, 10)))
SIDES = (10, 24, 40, 60, 110)  # small, small, medium, medium, large
Objects = Sequence[tuple[int, int, int, int, int]]  # image, category, x, y, side
OBJECTS: Objects = [
    (image, 1 + n % 2, x, y, side)
    for image in (1, 2, 3)
    for n, (side, x, y) in enumerate(zip(SIDES, (3, 150, 150, 5, 40), (140, 3, 100, 30, 30), strict=True))
]


def square(x: float, y: float, side: float) -> masks.Rle:
    """Mask of a square."""
    return masks.encode_crop(np.ones((int(side), int(side))), int(x), int(y), SIZE)


def record(image: int, category: int, x: float, y: float, side: float, score: float = 0.9) -> dict[str, Any]:
    """Detection of a square."""
    return {"image_id": image, "category_id": category, "segmentation": square(x, y, side), "score": score}


class Bench:
    """An evaluation of result files on drawn squares."""

    def __init__(
        self, folder: Path, objects: Objects = OBJECTS, crowds: Objects = (), categories: int = 2, images: int = 3
    ) -> None:
        annotations: list[dict[str, Any]] = []
        for crowd, drawn in ((0, objects), (1, crowds)):
            for image, category, x, y, side in drawn:
                rle = square(x, y, side)
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image, "category_id": category, "segmentation": rle,
                     "bbox": xywh(rle), "area": float(masks.area([rle])[0]), "iscrowd": crowd}
                )  # fmt: skip
        content = {
            "images": [
                {"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in range(1, images + 1)
            ],
            "categories": [{"id": i, "name": NAMES[i - 1]} for i in range(1, categories + 1)],
            "annotations": annotations,
        }
        (folder / "truth.json").write_text(json.dumps(content))
        self.folder = folder
        split = Split("val", read_index(folder / "truth.json"), None, 0, 0)
        self.benchmark = Benchmark(split, max_dets=100)
        self.notes: list[str] = []

    def add(self, name: str, records: list[dict[str, Any]], **changes: Any) -> "Bench":
        """A row from a file; with changes it passes for a segmenter's."""
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(records))
        method = ResultFile(name, path, 0.5, self.benchmark)
        self.notes += method.notes
        self.benchmark.rows[name] = method.result(self.benchmark.split)
        if changes:
            timed = {part: [0.1] * len(self.benchmark.ground_truth.sizes) for part in ("data", "segmentation")}
            row: MethodResult = self.benchmark.rows[name]
            self.benchmark.rows[name] = replace(row, detections=replace(row.detections, seconds=timed), **changes)
        return self

    def results(self) -> dict[str, Any]:
        """Content of ``results.json``."""
        bench = self.benchmark
        analyst = Analyst(bench.split, bench.ground_truth, bench.max_dets, TRACKS, resamples=0, seed=0)
        found = build_results(
            bench.rows, dict(analyst.analyse(bench.rows, processes=1)), analyst, notes=self.notes,
            environment={}, command="python evaluate.py", directory=".", checkpoint=None, checkpoints={}, seeds={},
            reference=None,
        )  # fmt: skip
        assert Results.of(found.to_builtins()) == found
        return found.to_builtins()

    def why(self, key: str, row: str = "row", track: str = "class_agnostic") -> str:
        """The reason of a number: there is exactly one."""
        entries = self.results()["reasons"]
        (why,) = [e["why"] for e in entries if row in e["rows"] and key in e["keys"] and track in e["tracks"]]
        return str(why)


def perfect(objects: Objects = OBJECTS, **changes: Any) -> list[dict[str, Any]]:
    """Detections of all objects; keyword arguments replace fields of each."""
    return [{**record(*one), **changes} for one in objects]


def boxes(objects: Objects = OBJECTS) -> list[dict[str, Any]]:
    """Boxes of all objects, without masks."""
    return [
        {"image_id": image, "category_id": category, "bbox": [x, y, side, side], "score": 0.9}
        for image, category, x, y, side in objects
    ]
