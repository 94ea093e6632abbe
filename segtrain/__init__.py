"""segtrain: fine-tune Mask R-CNN on COCO-format data and benchmark it against classical segmentation.

>>> import segtrain as st
>>> st.SegtrainError.__name__
'SegtrainError'

Names are loaded when they are first used, so that ``import segtrain`` takes no time.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; importing typing would take longer than all the rest

if TYPE_CHECKING:
    from segtrain import metrics
    from segtrain.api import Model, check, draw, load, load_coco, predict, read_image, score
    from segtrain.cli.runs import evaluate, train
    from segtrain.errors import SegtrainError
    from segtrain.records import (
        Category,
        Instances,
        to_box_predictions,
        to_label_map,
        to_planes,
        to_polygons,
        to_predictions,
    )
    from segtrain.segmenters import Segmenter, Trainable
    from segtrain.segmenters.classical import edges, kmeans, threshold
    from segtrain.targets import Target

__version__ = "0.1.0"

_MODULES = {
    "metrics": "segtrain.metrics",
    "edges": "segtrain.segmenters.classical.edges",
    "kmeans": "segtrain.segmenters.classical.kmeans",
    "threshold": "segtrain.segmenters.classical.threshold",
}
_HOMES = {
    "segtrain.api": ["Model", "check", "draw", "load", "load_coco", "predict", "read_image", "score"],
    "segtrain.cli.runs": ["evaluate", "train"],
    "segtrain.errors": ["SegtrainError"],
    "segtrain.records": [
        "Category", "Instances", "to_box_predictions", "to_label_map", "to_planes", "to_polygons", "to_predictions",
    ],
    "segtrain.segmenters": ["Segmenter", "Trainable"],
    "segtrain.targets": ["Target"],
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Category",
    "Instances",
    "Model",
    "Segmenter",
    "SegtrainError",
    "Target",
    "Trainable",
    "check",
    "draw",
    "edges",
    "evaluate",
    "kmeans",
    "load",
    "load_coco",
    "metrics",
    "predict",
    "read_image",
    "score",
    "threshold",
    "to_box_predictions",
    "to_label_map",
    "to_planes",
    "to_polygons",
    "to_predictions",
    "train",
]


def __getattr__(name: str) -> object:
    """Load a public name (PEP 562)."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOME_OF:
        found: object = getattr(import_module(_HOME_OF[name]), name)
        return found
    raise AttributeError(f"module 'segtrain' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
