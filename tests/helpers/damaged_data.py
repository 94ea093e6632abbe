"""Small data sets, generated and real ones, and random damage to them as a function of a seed."""

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from segtrain import masks
from tests.helpers.file_mutations import OF_FILES, lay_traps, picture
from tests.helpers.json_mutations import OF_TEXT, OF_VALUES, Json, dump

REAL = Path(os.environ.get("SEGTRAIN_REAL_DATA", "../shared")) / "data"
SOURCES = {
    "coco": ("coco/annotations/instances_val2017.json", "coco/val2017"),
    "nuclei": ("nuclei/annotations/instances_val.json", "nuclei/images/val"),
}


@dataclass(frozen=True)
class Original:
    """Valid data set: its json, and its image files by name."""

    document: Json
    files: dict[str, bytes]


@cache
def original(kind: str) -> Original:
    """Build a small data set: "generated", or a few images of a real one."""
    return _generated() if kind == "generated" else _real(*SOURCES[kind])


def _generated() -> Original:
    files = {
        "a.png": picture((20, 30), "RGB", "PNG"),
        "b.png": picture((24, 16), "L", "PNG"),
        "c.jpg": picture((18, 18), "RGB", "JPEG"),
        "folder/é.png": picture((20, 30), "P", "PNG"),
    }
    sizes = {"a.png": (20, 30), "b.png": (24, 16), "c.jpg": (18, 18), "folder/é.png": (20, 30)}
    images = [
        {"id": number, "file_name": name, "height": sizes[name][0], "width": sizes[name][1]}
        for number, name in enumerate(files, start=1)
    ]
    annotations: list[Json] = []
    for image in images[:3]:
        height, width = image["height"], image["width"]
        plane = np.zeros((height, width), np.uint8)
        plane[3:9, 4:12] = 1
        rle = masks.encode(plane)
        square = [2.0, 2.0, 9.5, 2.0, 9.5, 8.0, 2.0, 8.0]
        counts = masks.counts_of(rle).tolist()
        runs = {"size": [height, width], "counts": counts}
        for crowd, segmentation in (
            (0, [square]),
            (0, [square, [10, 10, 14, 10, 12, 15]]),
            (0, dict(rle)),
            (1, runs),
        ):
            annotations.append({
                "id": len(annotations) + 1, "image_id": image["id"], "category_id": 3 + 4 * (len(annotations) % 2),
                "segmentation": segmentation, "bbox": [2, 2, 10, 7], "area": 48.0, "iscrowd": crowd,
            })  # fmt: skip
    categories = [{"id": 7, "name": "bar"}, {"id": 3, "name": "square"}]
    return Original({"images": images, "annotations": annotations, "categories": categories}, files)


def _real(annotations: str, images: str) -> Original:
    """Select the smallest images with few objects, and one crowd."""
    whole = json.loads((REAL / annotations).read_text())
    of: dict[int, list[Json]] = {image["id"]: [] for image in whole["images"]}
    for annotation in whole["annotations"]:
        of[annotation["image_id"]].append(annotation)
    small = sorted(whole["images"], key=lambda image: image["height"] * image["width"])
    chosen = [image for image in small if 0 < len(of[image["id"]]) <= 12][:2]
    kept = [annotation for image in chosen for annotation in of[image["id"]]]
    rles = [annotation for annotation in whole["annotations"] if annotation["iscrowd"]][:1]
    if rles:
        chosen.append(next(image for image in whole["images"] if image["id"] == rles[0]["image_id"]))
    files = {image["file_name"]: (REAL / images / image["file_name"]).read_bytes() for image in chosen}
    return Original({**whole, "images": chosen, "annotations": [*kept, *rles]}, files)


DAMAGES: list[tuple[str, Callable[..., Any]]] = [
    *(("values", mutation) for mutation in OF_VALUES),
    *(("text", mutation) for mutation in OF_TEXT),
    *(("files", mutation) for mutation in OF_FILES),
]


def write(source: Original, folder: Path) -> None:
    """Write a data set into a folder, as ``coco.json`` and ``images``."""
    for name, content in source.files.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "coco.json").write_text(dump(source.document))


def damage(kind: str, seed: int, folder: Path) -> list[str]:
    """Write a damaged data set.

    Returns:
        Descriptions of the damage.
    """
    rng, source = random.Random(f"{kind} {seed}"), original(kind)
    write(source, folder)
    chosen = [DAMAGES[seed % len(DAMAGES)]]
    chosen += rng.choices(DAMAGES, k=rng.choice([0, 0, 0, 1, 2, 4]))
    document = json.loads(json.dumps(source.document))
    for stage, mutation in chosen:
        if stage == "values":
            mutation(rng, document)
    text = dump(document).encode("utf-8", "surrogatepass")
    for stage, mutation in chosen:
        if stage == "text":
            text = mutation(rng, text)
    for stage, mutation in chosen:
        path = folder / "images" / rng.choice(list(source.files))
        if stage == "files" and path.is_file() and not path.is_symlink() and path.stat().st_size:
            mutation(rng, path)
    if (folder / "images").is_dir():
        lay_traps(folder / "images")
    (folder / "coco.json").write_bytes(text)
    return [mutation.__name__ for _, mutation in chosen]
