"""A COCO json of any size, drawn: many images, and polygons of round objects in them."""

from pathlib import Path

import numpy as np

CATEGORIES = 80


def generate(path: Path, images: int, annotations: int) -> None:
    """Write a COCO json of polygons of 6 to 35 points, with COCO's usual keys, about 430 MB at full size."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.permutation(6 * images)[:images]).tolist()
    owners = rng.integers(0, images, annotations).tolist()
    angles = [np.linspace(0, 2 * np.pi, points, endpoint=False) for points in range(6, 36)]
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        file.write(", ".join(_image(identifier) for identifier in ids))
        file.write('], "annotations": [')
        for number in range(annotations):
            turn = angles[number % len(angles)]
            x, y, radius = 100 + number % 440, 100 + number % 280, 5 + number % 91
            points = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1).round(2)
            box = [x - radius, y - radius, 2 * radius, 2 * radius]
            file.write(
                f'{", " if number else ""}{{"segmentation": [{points.ravel().tolist()}], '
                f'"area": {3.1 * radius**2:.4f}, "iscrowd": 0, "image_id": {ids[owners[number]]}, "bbox": {box}, '
                f'"category_id": {1 + number % CATEGORIES}, "id": {number + 1}}}'
            )
        names = ", ".join(f'{{"supercategory": "a", "id": {i}, "name": "c{i}"}}' for i in range(1, CATEGORIES + 1))
        file.write(f'], "categories": [{names}]}}')


def _image(identifier: int) -> str:
    name = f"{identifier:012d}.jpg"
    return (
        f'{{"license": 3, "file_name": "{name}", "coco_url": "http://images.cocodataset.org/train2017/{name}", '
        f'"height": 480, "width": 640, "date_captured": "2013-11-14 16:28:13", "id": {identifier}}}'
    )
