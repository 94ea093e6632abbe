"""Schemas of both scripts' configurations, and checks of their values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Any, Literal

from hydra.core.config_store import ConfigStore
from msgspec import Meta
from omegaconf import MISSING, OmegaConf

from segtrain.nodes import check_value, find_argument_problems

# What the schemas cannot say: OmegaConf knows neither choices nor ranges.
_COUNT = Annotated[int, Meta(ge=1)]
_VALUES: dict[str, Any] = {
    "seed": Annotated[int, Meta(ge=0)],
    "threads": Literal["auto"] | _COUNT,
    "score_threshold": Literal["auto"] | Annotated[float, Meta(ge=0, le=1)] | None,
    "tracks": Literal["all", "class_agnostic"],
    "precision": Literal["fp32", "bf16"] | None,
    "gallery": Annotated[int, Meta(ge=0)],
    "bootstrap.resamples": Annotated[int, Meta(ge=0)],
    "bootstrap.seed": Annotated[int, Meta(ge=0)],
    "checkpoint": str | list[str] | None,
    "data.max_dets": _COUNT | None,
    "data.on_bad_image": Literal["error", "skip"] | None,
    "data.cache": Literal["none", "ram"] | None,
    "data.check": Literal["strict", "warn", "off"] | None,
    "data.exif": Literal["apply", "ignore", "auto"] | None,
    "data.max_image_pixels": _COUNT | None,
    "data.min_object_pixels": Annotated[int, Meta(ge=0)] | None,
    "tune.metric": Literal["mask_ap", "miou"],
    "tune.images": _COUNT | None,
    "tune.seconds": Annotated[float, Meta(gt=0)] | None,
    "tune.trials": _COUNT | None,
    "data.val_fraction": Annotated[float, Meta(gt=0, lt=1)] | None,
}


def find_problems(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of a root, and with the arguments of its parts; one line each."""
    return [*_check_values(config), *_check_roles(config), *find_argument_problems(config)]


def _check_values(config: Mapping[str, Any]) -> Iterator[str]:
    for path, hint in _VALUES.items():
        group, _, key = path.rpartition(".")
        values = config.get(group, {}) if group else config
        if key in values:
            yield from check_value(path, values[key], hint)


def _check_roles(config: Mapping[str, Any]) -> Iterator[str]:
    """Parts that can be built, but not in this place."""
    if "trainer" in config and config["data"]["from_checkpoint"]:
        yield "data: evaluate.py alone takes it from a checkpoint; choose another option, such as data=coco"
    if "trainer" in config and config["score_threshold"] is None:
        yield "score_threshold=null: there is no checkpoint to take it from; give a number, or auto"
    if "segmenters" in config and config["score_threshold"] == "auto":
        yield "score_threshold=auto: train.py alone chooses one; give a number, or null for the checkpoint's"
    network = config.get("segmenter")
    if network is not None and not network.get("_partial_"):
        yield "segmenter: this one does not learn; choose a mask_rcnn_* option"
    for name, node in config.get("segmenters", {}).items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            yield f"segmenters.{name}: not a segmenter; drop the row with '~segmenters.{name}'"
        elif node.get("_partial_"):
            yield f"segmenters.{name}: a network without weights; train it, then use option checkpoint"
    for name, path in config.get("predictions", {}).items():
        if not isinstance(path, str):
            yield f"predictions.{name}: not a path; give a COCO result file, or drop it with '~predictions.{name}'"
        if PurePath(str(name)).is_absolute() or ".." in PurePath(str(name)).parts:
            yield f"predictions.{name}: the name leads out of the folder predictions; choose another"
        if name in config["segmenters"]:
            yield f"predictions.{name}: a segmenter has this name already; choose another"


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
    trust: list[str] = field(default_factory=list)
    reference: str = MISSING
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
