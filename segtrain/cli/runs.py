"""Both commands as functions, for notebooks and programs."""

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
    """
    from segtrain.cli.train import run_training

    return run(run_training, "train", overrides)


def evaluate(overrides: Sequence[str] = ()) -> Finished["Evaluation"]:
    """Benchmark a trained network, as ``segtrain evaluate`` does.

    Args:
        overrides: as on the command line, such as ``["checkpoint=runs/train/NAME"]``.

    Returns:
        The folder of the evaluation; its results, and the path of the report.

    Raises:
        SegtrainError: an override, a setting or the data are at fault.
    """
    from segtrain.cli.evaluate import run_evaluation

    return run(run_evaluation, "evaluate", overrides)
