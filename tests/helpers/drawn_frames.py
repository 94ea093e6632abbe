"""Drawn healthy data sets in COCO's structure, and what tools and people do to their coordinates and run lengths."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

Content = dict[str, Any]
Point = tuple[Any, Any]


def healthy(seed: int, *, images: int = 4, objects: int = 5, kind: str = "polygons") -> Content:
    """Draw blobs without symmetry on images of several sizes; boxes and areas are those of the masks."""
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(70, 130)), int(rng.integers(140, 220))) for _ in range(images)]
    content: Content = {
        "images": [{"id": n + 1, "file_name": f"{n}.png", "height": h, "width": w} for n, (h, w) in enumerate(sizes)],
        "annotations": [],
        "categories": [{"id": 1, "name": "cell"}],
    }
    for number, (height, width) in enumerate(sizes):
        for place in range(objects):
            ring = _blob(rng, height, width, in_corner=place == 0)
            rle = coco_mask.merge(coco_mask.frPyObjects([ring], height, width))
            segmentation: Any = [ring]
            if kind == "run-length masks":
                segmentation = {"size": [height, width], "counts": counts_of(coco_mask.decode(rle))}
            content["annotations"].append({
                "id": len(content["annotations"]) + 1, "image_id": number + 1, "category_id": 1, "iscrowd": 0,
                "segmentation": segmentation, "area": int(coco_mask.area(rle)),
                "bbox": [float(v) for v in coco_mask.toBbox(rle)],
            })  # fmt: skip
    return content


def _blob(rng: np.random.Generator, height: int, width: int, *, in_corner: bool) -> list[float]:
    a, b = rng.uniform(8, 20), rng.uniform(6, 12)
    x, y = rng.uniform(a + 10, width - a - 10), rng.uniform(b + 10, height - b - 10)
    if in_corner:  # files show how far coordinates reach
        x, y = width - a - 10, height - b - 10
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radius = 1 + 0.35 * (angle > 4) - 0.3 * (angle < 1)  # no symmetry
    points = np.stack([x + 0.75 * a * radius * np.cos(angle), y + 0.75 * b * radius * np.sin(angle)], axis=1)
    return [round(float(value), 2) for value in points.ravel()]


def counts_of(plane: Any) -> list[int]:
    """Lengths of the runs down the columns, starting with 0s."""
    flat = np.asarray(plane).ravel(order="F") != 0
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


def each(content: Content) -> Iterator[tuple[Content, int, int]]:
    """Yield each annotation with the height and width of its image."""
    images = {image["id"]: image for image in content["images"]}
    for annotation in content["annotations"]:
        image = images[annotation["image_id"]]
        yield annotation, image["height"], image["width"]


def move_points(move: Callable[[Any, Any, int, int, list[float]], Point]) -> Callable[[Content], None]:
    """Return a mutation of all polygons: x and y of a ring, height and width, and the box are given."""

    def change(content: Content) -> None:
        for annotation, height, width in each(content):
            rings = []
            for ring in annotation["segmentation"]:
                points = np.array(ring).reshape(-1, 2)
                x, y = move(points[:, 0], points[:, 1], height, width, annotation["bbox"])
                rings.append(np.stack([x, y], axis=1).ravel().tolist())
            annotation["segmentation"] = rings

    return change


def move_boxes(move: Callable[[list[float], int, int], list[float]]) -> Callable[[Content], None]:
    """Return a mutation of all boxes: xywh, height and width are given."""

    def change(content: Content) -> None:
        for annotation, height, width in each(content):
            annotation["bbox"] = move(annotation["bbox"], height, width)

    return change


def rewrite_runs(write: Callable[[Any], Any]) -> Callable[[Content], None]:
    """Return a mutation of all run lengths: the (H, W) plane is given, and the segmentation returned."""

    def change(content: Content) -> None:
        for annotation, height, width in each(content):
            counts = np.array(annotation["segmentation"]["counts"])
            plane = np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T
            annotation["segmentation"] = write(plane)

    return change


def rle(counts: list[int], size: tuple[int, ...]) -> Content:
    return {"size": list(size), "counts": counts}


def pairs(plane: Any, *, base: int, order: Any, ends: bool = False) -> list[int]:
    """Start and length, or start and end, of each run of 1s."""
    flat = np.concatenate([[0], np.asarray(plane).ravel(order=order), [0]])
    edges = np.flatnonzero(np.diff(flat))
    starts, stops = edges[0::2], edges[1::2]
    second = stops - 1 + base if ends else stops - starts
    return np.stack([starts + base, second], axis=1).ravel().tolist()


def resized(plane: Any, height: int, width: int) -> Any:
    """Nearest neighbour."""
    rows = ((np.arange(height) + 0.5) * plane.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * plane.shape[1] / width).astype(int)
    return plane[np.ix_(rows, columns)]


def padded(plane: Any, height: int, width: int) -> Any:
    out = np.zeros((height, width), dtype=plane.dtype)
    out[: plane.shape[0], : plane.shape[1]] = plane
    return out


def crop_of(plane: Any) -> Any:
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    return plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def runs(plane: Any) -> Content:
    return rle(counts_of(plane), plane.shape)


POLYGONS: dict[str, Callable[[Content], None]] = {
    "multiplied by 0.5": move_points(lambda x, y, h, w, b: (2 * x, 2 * y)),
    "multiplied by 2": move_points(lambda x, y, h, w, b: (x / 2, y / 2)),
    "multiplied by 0.5263": move_points(lambda x, y, h, w, b: (1.9 * x, 1.9 * y)),
    "multiplied by 0.5 in x, 0.625 in y": move_points(lambda x, y, h, w, b: (2 * x, 1.6 * y)),
    "each size": move_points(lambda x, y, h, w, b: (640 * x / w, 640 * y / h)),
    "shifted": move_points(lambda x, y, h, w, b: (x + 25, y - 30)),
    "shifted by -24.0 in x": move_points(lambda x, y, h, w, b: (0.5 * x + 12, 0.5 * y + 40)),
    "mirrored horizontally": move_points(lambda x, y, h, w, b: (w - x, y)),
    "mirrored vertically": move_points(lambda x, y, h, w, b: (x, h - y)),
    "180 degrees": move_points(lambda x, y, h, w, b: (w - x, h - y)),
    "with x and y exchanged": move_points(lambda x, y, h, w, b: (y, x)),
    "turned by 90 degrees clockwise": move_points(lambda x, y, h, w, b: (y, w - x)),
    "turned by 90 degrees counter": move_points(lambda x, y, h, w, b: (h - y, x)),
    "other diagonal": move_points(lambda x, y, h, w, b: (h - y, w - x)),
    "fractions, 0 to 1": move_points(lambda x, y, h, w, b: (x / w, y / h)),
    "percentages": move_points(lambda x, y, h, w, b: (100 * x / w, 100 * y / h)),
    "0 to 1000": move_points(lambda x, y, h, w, b: (1000 * x / w, 1000 * y / h)),
    "longest side": move_points(lambda x, y, h, w, b: (x / max(h, w), y / max(h, w))),
    "relative to it": move_points(lambda x, y, h, w, b: (x - b[0], y - b[1])),
    "fractions of the box": move_points(lambda x, y, h, w, b: ((x - b[0]) / b[2], (y - b[1]) / b[3])),
}

RUNS: dict[str, Callable[[Content], None]] = {
    "begin with 1s": rewrite_runs(lambda p: rle(counts_of(1 - p), p.shape)),
    "along rows instead of columns": rewrite_runs(lambda p: rle(counts_of(p.T), p.shape)),
    "along rows that begin with 1s": rewrite_runs(lambda p: rle(counts_of(1 - p.T), p.shape)),
    "not of the stated one": rewrite_runs(lambda p: rle(counts_of(p), (5, 5))),
    "whose size they do not state": rewrite_runs(lambda p: rle(counts_of(p.T), (5, 5))),
    "without the last run": rewrite_runs(lambda p: rle(counts_of(p)[:-1], p.shape)),
    "rows without the last run": rewrite_runs(lambda p: rle(counts_of(p.T)[:-1], p.shape)),
    "without the first run": rewrite_runs(lambda p: rle(counts_of(p)[1:], p.shape)),
    "rows without the first run": rewrite_runs(lambda p: rle(counts_of(p.T)[1:], p.shape)),
    "start and length, from 1, down": rewrite_runs(lambda p: rle(pairs(p, base=1, order="F"), p.shape)),
    "start and length, from 1, along": rewrite_runs(lambda p: rle(pairs(p, base=1, order="C"), p.shape)),
    "start and length, from 0, down": rewrite_runs(lambda p: rle(pairs(p, base=0, order="F"), p.shape)),
    "start and length, from 0, along": rewrite_runs(lambda p: rle(pairs(p, base=0, order="C"), p.shape)),
    "start and end, from 1, down": rewrite_runs(lambda p: rle(pairs(p, base=1, order="F", ends=True), p.shape)),
    "start and end, from 1, along": rewrite_runs(lambda p: rle(pairs(p, base=1, order="C", ends=True), p.shape)),
    "positions of the changes, down": rewrite_runs(lambda p: rle(np.cumsum(counts_of(p))[:-1].tolist(), p.shape)),
    "scaled from the size": rewrite_runs(lambda p: runs(resized(p, p.shape[0] // 2, p.shape[1] // 2))),
    "rows instead of columns, and scaled": rewrite_runs(
        lambda p: rle(counts_of(resized(p, p.shape[0] // 2, p.shape[1] // 2).T), (p.shape[0] // 2, p.shape[1] // 2))
    ),
    "cut or padded": rewrite_runs(lambda p: runs(padded(p, 300, 300))),
    "moved to the corner": rewrite_runs(lambda p: runs(crop_of(p))),
    "mirrored horizontally": rewrite_runs(lambda p: runs(p[:, ::-1])),
    "mirrored vertically": rewrite_runs(lambda p: runs(p[::-1])),
    "180 degrees": rewrite_runs(lambda p: runs(p[::-1, ::-1])),
    "turned by 90 degrees clockwise": rewrite_runs(lambda p: runs(np.rot90(p))),
    "turned by 90 degrees counter": rewrite_runs(lambda p: runs(np.rot90(p, -1))),
    "shifted": rewrite_runs(lambda p: runs(np.roll(p, (3, 7), (0, 1)))),
}
BOXES: dict[str, Callable[[Content], None]] = {
    "[x1, y1, x2, y2]": move_boxes(lambda b, h, w: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
    "[centre x": move_boxes(lambda b, h, w: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]]),
    "[y1, x1, y2, x2]": move_boxes(lambda b, h, w: [b[1], b[0], b[1] + b[3], b[0] + b[2]]),
    "[x1, x2, y1, y2]": move_boxes(lambda b, h, w: [b[0], b[0] + b[2], b[1], b[1] + b[3]]),
    "[x, y, width, height] in fractions": move_boxes(lambda b, h, w: [b[0] / w, b[1] / h, b[2] / w, b[3] / h]),
    "[centre x, centre y, width, height] in fractions": move_boxes(
        lambda b, h, w: [(b[0] + b[2] / 2) / w, (b[1] + b[3] / 2) / h, b[2] / w, b[3] / h]
    ),
    "in percent": move_boxes(lambda b, h, w: [100 * b[0] / w, 100 * b[1] / h, 100 * b[2] / w, 100 * b[3] / h]),
    "[y1, x1, y2, x2] in thousandths": move_boxes(
        lambda b, h, w: [1000 * b[1] / h, 1000 * b[0] / w, 1000 * (b[1] + b[3]) / h, 1000 * (b[0] + b[2]) / w]
    ),
}


def move_both(move: Callable[[Any, Any, int, int], Point]) -> Callable[[Content], None]:
    """Return a mutation of polygons and boxes alike."""

    def box(b: list[float], height: int, width: int) -> list[float]:
        x, y = move(np.array([b[0], b[0] + b[2]]), np.array([b[1], b[1] + b[3]]), height, width)
        return [float(min(x)), float(min(y)), float(np.ptp(x)), float(np.ptp(y))]

    def change(content: Content) -> None:
        move_points(lambda x, y, h, w, b: move(x, y, h, w))(content)
        move_boxes(box)(content)

    return change


BOTH: dict[str, Callable[[Content], None]] = {
    "multiplied by 0.52": move_both(lambda x, y, h, w: (1.9 * x, 1.9 * y)),
    "multiplied by 1.99": move_both(lambda x, y, h, w: (x / 2, y / 2)),
    "fractions, 0 to 1": move_both(lambda x, y, h, w: (x / w, y / h)),
    "0 to 1000": move_both(lambda x, y, h, w: (1000 * x / w, 1000 * y / h)),
    "with x and y exchanged": move_both(lambda x, y, h, w: (y, x)),
    "with y negated": move_both(lambda x, y, h, w: (x, -y)),
}
