"""The roots of both scripts' configurations, as Hydra is to know them: their keys, and the types of these."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf


@dataclass
class DataConfig:
    """COCO-format data; paths relative to ``root``, which is relative to where the command was typed."""

    root: str | None = None
    train_annotations: str | None = None
    train_images: str | None = None
    val_annotations: str | None = None
    val_images: str | None = None
    val_fraction: float | None = None
    split_by: str | None = None
    max_dets: int | None = None
    on_bad_image: str | None = None
    check: str | None = None
    exif: str | None = None
    max_image_pixels: int | None = None
    min_object_pixels: int | None = None
    cache: str | None = None
    tune_seconds: float | None = None
    generator: Any = None
    from_checkpoint: bool = False


@dataclass
class RunConfig:
    """What both scripts have."""

    output_dir: str = MISSING
    overwrite: bool = MISSING
    seed: int = MISSING
    device: str = MISSING
    threads: Any = MISSING  # auto | int
    score_threshold: Any = MISSING  # auto (train.py) | float | null (evaluate.py)
    data: DataConfig = field(default_factory=DataConfig)


@dataclass
class TrainConfig(RunConfig):
    """Root of train.py."""

    resume: str | None = None
    segmenter: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass
class BootstrapConfig:
    """Resamples of the images behind the intervals of ``evaluate.py``."""

    resamples: int = MISSING
    seed: int = MISSING


@dataclass
class TuneConfig:
    """What a search for settings may cost, and what it maximises."""

    metric: str = MISSING
    images: int | None = None
    seconds: float | None = None
    trials: int | None = None


@dataclass
class EvaluateConfig(RunConfig):
    """Root of evaluate.py."""

    checkpoint: Any = None  # a path or a list of paths
    tracks: str = MISSING
    precision: str | None = None
    gallery: int = MISSING
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    segmenters: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, Any] = field(default_factory=dict)


def register_schemas() -> None:
    """Make the schemas known to Hydra as ``train_schema`` and ``evaluate_schema``."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    schema = OmegaConf.structured(EvaluateConfig)
    # The names of result files are the user's: the one dictionary that takes new keys without `+`.
    OmegaConf.set_struct(schema.predictions, False)
    store.store(name="evaluate_schema", node=schema)
