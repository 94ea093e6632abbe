"""Detections of a network that segtrain has exported to ONNX, with NumPy and onnxruntime alone.

python THIS_FILE.py IMAGE prints the objects of an image, and writes IMAGE.labels.npy, an (H, W) map in which each pixel
has the number of its object. IMAGE is an array that numpy.save has written, or an image file if Pillow is installed.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Network:
    """Network of an ONNX file.

    Args:
        path: path of the file.

    Attributes:
        about: what the file says of the network: ``class_names`` and ``score_thresholds`` of labels 1..K, and more.
    """

    def __init__(self, path: str | Path) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.about: dict[str, Any] = {name: json.loads(value) for name, value in metadata.items()}

    def detect(self, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], ...]:
        """Find the objects of an image whose score reaches the score threshold of their category.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            Boxes (N, 4) xyxy in pixels, labels (N,) in 1..K, scores (N,), and masks (N, 28, 28) for `paste`; best
            first.
        """
        boxes, labels, scores, masks = self._session.run(None, {"image": image})
        kept = scores >= np.array(self.about["score_thresholds"])[labels - 1]
        return boxes[kept], labels[kept], scores[kept], masks[kept]

    def paste(
        self, mask: npt.NDArray[np.float32], box: npt.NDArray[np.float32], size: tuple[int, int]
    ) -> npt.NDArray[np.bool_]:
        """Paste the mask of an object into the image.

        Args:
            mask: (28, 28) probabilities.
            box: (4,) xyxy in pixels.
            size: (H, W) of the image.

        Returns:
            (H, W), True for the pixels of the object.
        """
        return paste(mask, box, size, mask_shift(self.about, size))


def mask_shift(about: dict[str, Any], size: tuple[int, int]) -> tuple[float, float]:
    """Return the distance (x, y) in pixels by which masks lie too far to the left and above; 0 for aligned networks.

    Args:
        about: what the file says of the network.
        size: (H, W) of the image.
    """
    given = about["input"]
    wanted = given["scale"] if given["min_size"] is None else given["min_size"] / min(size)
    factor = min(wanted, given["max_size"] / max(size))
    height, width = (max(int(side * factor), 1) for side in size)
    return about["mask_shift"] * size[1] / width, about["mask_shift"] * size[0] / height


def paste(
    mask: npt.NDArray[np.float32],
    box: npt.NDArray[np.float32],
    size: tuple[int, int],
    shift: tuple[float, float] = (0.0, 0.0),
) -> npt.NDArray[np.bool_]:
    """Paste a mask at the exact place of its box.

    The mask is stretched over the box, bilinear between the centres of its cells, and 0 outside; a pixel belongs to the
    object if the value at its centre exceeds .5.

    Args:
        mask: (M, M) probabilities.
        box: (4,) xyxy in pixels of the image, whose first pixel spans 0 to 1.
        size: (H, W) of the image.
        shift: distance (x, y) in pixels by which the mask is moved to the right and down.

    Returns:
        (H, W), True for the pixels of the object.

    >>> paste(np.ones((28, 28), np.float32), np.array([1, 0, 3, 2]), (3, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    height, width = size
    x0, y0, x1, y1 = (float(value) for value in np.asarray(box, float) + np.tile(shift, 2))
    result = np.zeros(size, bool)
    columns, rows = (
        np.arange(*(int(np.clip(np.ceil(end - 0.5), 0, side)) for end in ends))
        for ends, side in (((x0, x1), width), ((y0, y1), height))
    )
    if not (x1 > x0 and y1 > y0 and len(columns) and len(rows)):
        return result
    cells = np.pad(mask.astype(np.float32), 1) - np.float32(0.5)
    # Places are counted from the centre of the first cell of the frame.
    place_x = (columns + 0.5 - x0) / (x1 - x0) * len(mask) + 0.5
    place_y = (rows + 0.5 - y0) / (y1 - y0) * len(mask) + 0.5
    left, above = place_x.astype(int), place_y.astype(int)
    across = cells[:, left] + (cells[:, left + 1] - cells[:, left]) * (place_x - left).astype(np.float32)
    across = across.astype(float)
    values = across[above] + (across[above + 1] - across[above]) * (place_y - above)[:, None]
    result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = values > 0
    return result


def read(path: str) -> npt.NDArray[np.uint8]:
    """Read an image as uint8 RGB (H, W, 3)."""
    if path.endswith(".npy"):
        image: npt.NDArray[np.uint8] = np.load(path)
    else:
        from PIL import Image

        image = np.asarray(Image.open(path).convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        sys.exit(f"{path}: {image.dtype} {image.shape}; give uint8 RGB (H, W, 3)")
    return image


def main() -> None:
    """Segment the image that the command line names."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {Path(__file__).name} IMAGE")
    network = Network(Path(__file__).with_suffix(".onnx"))
    image = read(sys.argv[1])
    boxes, labels, scores, masks = network.detect(image)
    numbers = np.zeros(image.shape[:2], np.uint16)
    for number in range(len(boxes), 0, -1):  # the best comes last, on top of the others
        found = network.paste(masks[number - 1], boxes[number - 1], image.shape[:2])
        numbers[found] = number
    for number, (box, label, score) in enumerate(zip(boxes, labels, scores, strict=True), start=1):
        print(number, network.about["class_names"][label - 1], f"{score:.3f}", *(f"{value:.1f}" for value in box))
    np.save(f"{sys.argv[1]}.labels.npy", numbers)


if __name__ == "__main__":
    main()
