"""Functions that run ``train`` and ``evaluate`` from Python, for notebooks and programs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segtrain.cli.launch import Finished, run

if TYPE_CHECKING:
    from segtrain.cli.evaluate import Evaluation


def train(overrides: Sequence[str] = ()) -> Finished[float]:
    """Fine-tune a network, as ``segtrain train`` does.

    Args:
        overrides: as on the command line, such as ``["experiment=nuclei", "data.root=DIR"]``.

    Returns:
        The run's folder, and the best validation mask AP.

    Raises:
        SegtrainError: an override, a setting or the data are at fault.

    >>> import segtrain as st
    >>> data = ["data.root=drawn", "data.generator.train_images=4", "data.generator.val_images=2"]
    >>> network = ["segmenter=mask_rcnn_mobilenet_v2_fpn", "segmenter.scale=1", "trainer.max_steps=1"]
    >>> finished = st.train([*data, *network, "data.generator.size=96", "output_dir=runs/train/drawn"])
    >>> finished.folder.as_posix()
    'runs/train/drawn'
    """
    return run("train", overrides)


def evaluate(overrides: Sequence[str] = ()) -> Finished["Evaluation"]:
    """Benchmark a trained network, as ``segtrain evaluate`` does.

    Args:
        overrides: as on the command line, such as ``["checkpoint=runs/train/NAME"]``.

    Returns:
        The folder of the evaluation; its results, and the path of the report.

    Raises:
        SegtrainError: an override, a setting or the data are at fault.

    >>> import segtrain as st
    >>> data = ["data=coco", "data.root=cells", "data.val_annotations=annotations/instances_val.json"]
    >>> rows = ["methods=none", "+segmenter@segmenters.otsu=threshold_otsu", "bootstrap.resamples=0"]
    >>> overrides = [*data, "data.val_images=images/val", *rows, "output_dir=runs/evaluate/cells"]
    >>> finished = st.evaluate(overrides)  # doctest: +ELLIPSIS
    Class-agnostic, every method...
    Report: runs/evaluate/cells/report.html
    >>> list(finished.result.results.methods)
    ['otsu']
    """
    return run("evaluate", overrides)
