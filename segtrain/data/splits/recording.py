"""A drawn split, kept in the folder of the run that drew it."""

import logging
from collections.abc import Mapping
from pathlib import Path

from segtrain.data.splits.files import write_split
from segtrain.data.splits.opening import Split, SplitName

logger = logging.getLogger(__name__)


def record_split(splits: Mapping[SplitName, Split], output_dir: Path) -> None:
    """Write a drawn split into a run's folder, as two COCO files that can be given in place of ``val_fraction``.

    Args:
        splits: "train" and "val"; nothing is written if they come from two files.
        output_dir: gets ``split/train.json`` and ``split/val.json``.
    """
    val = splits["val"]
    if val.entries is not None:
        write_split(val.index.path, val.entries, output_dir / "split")
        logger.info(f"drawn split: {output_dir / 'split'}, train.json and val.json")
