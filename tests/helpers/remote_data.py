"""A small COCO data set, as files by their paths: to be served, zipped, or put into shards."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image

SIZE = 16


def png(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def annotation(number: int) -> dict[str, Any]:
    return {
        "id": number, "image_id": number, "category_id": 1, "bbox": [2, 2, 8, 8], "area": 64, "iscrowd": 0,
        "segmentation": [[2, 2, 10, 2, 10, 10, 2, 10]],
    }  # fmt: skip


def entry(number: int) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.png", "height": SIZE, "width": SIZE}


def coco(numbers: range) -> bytes:
    content = {
        "images": [entry(number) for number in numbers],
        "annotations": [annotation(number) for number in numbers],
        "categories": [{"id": 1, "name": "cell"}],
    }
    return json.dumps(content).encode()


def files() -> dict[str, bytes]:
    """Six training and three validation images."""
    sets = {"train": range(1, 7), "val": range(7, 10)}
    found = {f"{name}.json": coco(numbers) for name, numbers in sets.items()}
    return found | {f"images/{name}/{n}.png": png(n) for name, numbers in sets.items() for n in numbers}
