"""segtrain: fine-tune Mask R-CNN on COCO-format data and benchmark it against classical segmentation.

>>> import segtrain as st
>>> image = st.read_image("cells/images/val/000001.png")
>>> found = st.classical("threshold_otsu").segment([image])[0]
>>> st.draw(image, found).save("found.png")

Names are loaded when they are first used, so that ``import segtrain`` takes no time.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; importing typing would take longer than all the rest

if TYPE_CHECKING:
    # isort: off
    from segtrain.api import Model as Model, check as check, classical as classical, draw as draw, load as load
    from segtrain.api import load_coco as load_coco, load_results as load_results, predict as predict
    from segtrain.api import read_image as read_image, read_pages as read_pages, score as score
    from segtrain.cli.runs import evaluate as evaluate, train as train
    from segtrain.errors import SegtrainError as SegtrainError
    from segtrain.export.export_files import export_network as export_network
    from segtrain.records import Category as Category, Instances as Instances
    from segtrain.records import to_box_predictions as to_box_predictions, to_label_map as to_label_map
    from segtrain.records import to_planes as to_planes, to_polygons as to_polygons, to_predictions as to_predictions
    from segtrain.segmenters import Segmenter as Segmenter, Trainable as Trainable
    from segtrain.segmenters.classical import edges as edges, kmeans as kmeans, threshold as threshold
    from segtrain.segmenters.classical.postprocess import MaskPostprocessing as MaskPostprocessing
    from segtrain.targets import Target as Target
    # isort: on

__version__ = "0.1.0"

if not TYPE_CHECKING:  # a type checker that saw __getattr__ would accept any name
    _MODULES = {
        "edges": "segtrain.segmenters.classical.edges",
        "kmeans": "segtrain.segmenters.classical.kmeans",
        "threshold": "segtrain.segmenters.classical.threshold",
    }
    _HOMES = {
        "segtrain.api": [
            "Model", "check", "classical", "draw", "load", "load_coco", "load_results", "predict", "read_image",
            "read_pages", "score",
        ],
        "segtrain.cli.runs": ["evaluate", "train"],
        "segtrain.errors": ["SegtrainError"],
        "segtrain.export.export_files": ["export_network"],
        "segtrain.records": [
            "Category", "Instances", "to_box_predictions", "to_label_map", "to_planes", "to_polygons", "to_predictions",
        ],
        "segtrain.segmenters": ["Segmenter", "Trainable"],
        "segtrain.segmenters.classical.postprocess": ["MaskPostprocessing"],
        "segtrain.targets": ["Target"],
    }  # fmt: skip
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

    __all__ = sorted([*_MODULES, *_HOME_OF])

    def __getattr__(name: str) -> object:
        """Load a public name (PEP 562)."""
        if name in _MODULES:
            return import_module(_MODULES[name])
        if name in _HOME_OF:
            return getattr(import_module(_HOME_OF[name]), name)
        raise AttributeError(f"module 'segtrain' has no attribute '{name}'")

    def __dir__() -> list[str]:
        """List the public names."""
        return __all__
