"""Frames of the masks of result files: they must be in pixels of the images, as their boxes are."""

import json
from pathlib import Path

import numpy as np

from segtrain.data.coco.record_tables import ROW, AnnotationTable, ImageTable
from segtrain.data.coco.result_file import ResultFile
from segtrain.data.coco.shared_array import SharedArray
from segtrain.data.frames.judge import judge
from segtrain.errors import SegtrainError
from segtrain.masks import codec

_REFUSED = ("frame", "frame-outside")


def check_frame_of_results(results: ResultFile, images: ImageTable, path: Path) -> list[str]:
    """Compare masks with their boxes and images, in a sample of the records.

    Args:
        results: content of the file.
        images: images that the records belong to.
        path: path of the file, for messages.

    Returns:
        Lines on contradictions that are not certain: masks and boxes contradict each other, as those of weak detections
        may, or boxes are in another layout.

    Raises:
        SegtrainError: the masks are in another frame than the images, such as fractions or a resized image.
    """
    sample = [written for written in results.sample if not _is_empty(written[1])]
    if not sample:
        return []
    places = images.places(written.image_id for written in sample)
    text, rows = bytearray(), np.zeros(len(sample), dtype=ROW)
    for row, place, written in zip(rows, places.tolist(), sample, strict=True):
        segmentation, box = (json.dumps(value, separators=(",", ":")).encode() for value in written[1:])
        row["image"], row["label"], row["usable"], row["area"] = place, 1, True, np.nan
        row["start"], row["box"] = len(text), len(text) + len(segmentation) + 1
        text += segmentation + b"\0" + box + b"\0"
        row["stop"] = len(text) - 1
    rows["number"] = np.arange(1, len(rows) + 1)
    rows = rows[np.argsort(places, kind="stable")]
    table = AnnotationTable.of(rows, len(images), SharedArray(np.frombuffer(bytes(text), dtype=np.uint8)))
    verdicts = judge(images, table, np.ones(len(rows), dtype=np.bool_))
    for verdict in verdicts:
        if verdict.issue in _REFUSED:
            raise SegtrainError(f"{path}: {verdict.text}; write masks as COCO defines them, in pixels of the images")
    return [verdict.text for verdict in verdicts]


def _is_empty(segmentation: object) -> bool:
    """Return True for a run-length mask without a pixel, which a network may predict in any frame."""
    code = segmentation.get("counts") if isinstance(segmentation, dict) else None
    return isinstance(code, str) and not codec.counts(code)[1::2].any()
