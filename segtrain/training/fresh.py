"""The checkpoint that a run begins with: what it says about itself before it has learned anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtrain.data.open_data import data_root
from segtrain.data.splits import Split, SplitName
from segtrain.training.checkpoint import PROVISIONAL_THRESHOLD, Checkpoint


def fresh_checkpoint(config: Mapping[str, Any], splits: Mapping[SplitName, Split], precision: str) -> Checkpoint:
    """What a run's checkpoints will say about it, at step 0 and without weights.

    Args:
        config: train.py's, resolved.
        splits: "train" and "val".
        precision: as resolved.
    """
    categories = splits["train"].index.categories
    data = {**config["data"], "root": str(data_root(config["data"]))}
    segmenter = dict(config["segmenter"])
    weights = segmenter.get("weights")
    if weights is not None and Path(weights).exists():  # a file, not a published name
        segmenter["weights"] = str(Path(weights).absolute())
    drawn = config["data"]["val_annotations"] is None
    return Checkpoint(
        model={},
        config={
            **config,
            "data": data,
            "segmenter": segmenter,
            "output_dir": str(Path(config["output_dir"]).absolute()),
        },
        class_names=[category.name for category in categories],
        category_ids=[category.id for category in categories],
        max_dets=config["data"]["max_dets"],
        score_threshold=PROVISIONAL_THRESHOLD if config["score_threshold"] == "auto" else config["score_threshold"],
        precision=precision,
        seed=config["seed"],
        val_ids=[image.id for image in splits["val"].index.images] if drawn else None,
        epoch=0,
        step=0,
        minutes=0.0,
        metrics={},
        training=None,
        threshold_images=None,
        training_images=len(splits["train"].index.images),
        training_objects=splits["train"].index.counts.used,
        validations=0,
    )
