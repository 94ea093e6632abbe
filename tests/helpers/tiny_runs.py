"""Data set of a few tiny images, and training runs of seconds on it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from segtrain import distributed, masks
from segtrain.data.check.load import load_index
from segtrain.data.coco.index import CocoIndex
from segtrain.data.dataset import CocoDataset
from segtrain.data.images.image_reader import ImageReader
from segtrain.data.images.intensities.intensity import FULL
from segtrain.data.loader import TrainingLoader
from segtrain.segmenters import Trainable
from segtrain.training.checkpoint import Checkpoint
from segtrain.training.learner import Learner, Meter, parameter_groups
from segtrain.training.run_state import RunCheckpoints
from segtrain.training.schedule import Cosine
from segtrain.training.settings import TrainSettings
from segtrain.training.threads import ThreadTuner
from segtrain.training.trainer import Trainer
from tests.helpers.builders import xywh
from tests.helpers.tiny_networks import CLASSES, picture, planes, settings, tiny
from tests.helpers.unet import UNet

IDS = [5, 30, 70]  # category ids, with gaps; the third never appears


def write_data(folder: Path, images: int = 6, sides: Sequence[int] = (64,)) -> CocoIndex:
    """Write images of discs and rectangles, their sides in turn; the last image has no objects."""
    records, annotations = [], []
    for number in range(images):
        size = sides[number % len(sides)]
        image, target = picture(number, size, size, objects=2 if number < images - 1 else 0)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
        records.append({"id": 100 + number, "file_name": f"{number}.png", "height": size, "width": size})
        for plane, label in zip(planes(image, target), target.labels.tolist(), strict=True):
            segmentation = masks.encode(plane.numpy())
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 100 + number, "category_id": IDS[label - 1], "iscrowd": 0}
                | {"segmentation": segmentation, "area": int(plane.sum()), "bbox": xywh(segmentation)}
            )
    categories = [{"id": i, "name": name} for i, name in zip(IDS, CLASSES, strict=False)]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": records, "annotations": annotations, "categories": categories}))
    return load_index(path)


def train_settings(**changes: Any) -> TrainSettings:
    values: dict[str, Any] = {
        "batch_size": 2,
        "workers": 0,
        "epochs": 2,
        "max_steps": None,
        "max_minutes": None,
        "aspect_grouping": False,
        "repeat_threshold": None,
        "precision": "fp32",
        "max_grad_norm": 10.0,
        "scale_lr": "none",
        "on_nan": "stop",
        "accumulate_steps": 1,
        "ema_decay": 0.9,
        "validate_every": 1,
        "validation_losses": True,
        "patience": None,
        "monitor": "mask_ap",
        "min_gain": 0.0,
        "checkpoint_minutes": None,
        "log_every": 1,
        "forecast": False,
        "preview_images": 1,
        "validation_images": 0,
        "validation_categories": 10,
        "threshold_images": 4,
    }
    return TrainSettings(**(values | changes))


def checkpoint(**changes: Any) -> Checkpoint:
    values: dict[str, Any] = {
        "model": {},
        "config": {
            "segmenter": {
                "_target_": "segtrain.segmenters.mask_rcnn.factory.mask_rcnn",
                "_partial_": True,
                **settings(),
            },
            "optimizer": {"_target_": "torch.optim.AdamW"},
        },
        "class_names": CLASSES,
        "category_ids": IDS[: len(CLASSES)],
        "max_dets": 10,
        "score_threshold": 0.5,
        "precision": "fp32",
        "seed": 3,
        "val_ids": None,
        "epoch": 0,
        "step": 0,
        "minutes": 0.0,
        "metrics": {},
        "training": None,
        "threshold_images": None,
        "training_images": 6,
        "intensity": FULL.to_plain(),
        "training_objects": 10,
        "validations": 0,
        "contents": {},
        "inputs": None,
    }
    return Checkpoint(**(values | changes))


def training(**changes: Any) -> dict[str, Any]:
    """Return a state that only resuming needs, of a run before its first step."""
    values: dict[str, Any] = {
        "model": {},
        "optimizer": {"state": {}, "param_groups": []},
        "ema_updates": None,
        "batch": 0,
        "batch_size": 2,
        "earlier": [],
        "best": 0.0,
        "validated_at": 0,
        "epochs": 0.0,
        "schedule_origin": None,
        "meter": Meter().state(),
    }
    return values | changes


def small_mask_rcnn() -> Trainable:
    return tiny("mobilenet_v2_fpn", norm="batch", rois_per_image=16)


@dataclass
class Run:
    """Training run with a record of its log."""

    index: CocoIndex
    folder: Path
    start: Checkpoint = field(default_factory=checkpoint)
    changes: dict[str, Any] = field(default_factory=dict)  # of the settings
    scores: list[float] = field(default_factory=list)  # what validation answers; 0 when there are no more
    entries: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    validated: list[tuple[int, dict[str, torch.Tensor]]] = field(default_factory=list)
    optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW
    on_bad_image: Any = "error"
    network: Callable[[], Trainable] = small_mask_rcnn

    def dataset(self) -> CocoDataset:
        reader = ImageReader(self.index.path.parent, exif="auto", max_pixels=10**6)
        return CocoDataset(self.index, reader, None, seed=3, on_bad_image=self.on_bad_image)

    def trainer(self) -> Trainer:
        chosen = train_settings(**self.changes)
        processes, part = distributed.size(), (distributed.rank(), distributed.size())
        assert chosen.batch_size != "auto"
        loader = TrainingLoader(self.dataset(), batch_size=chosen.batch_size * processes, workers=0, seed=3, part=part)
        segmenter = self.network()
        optimizer = self.optimizer(parameter_groups(segmenter), lr=3e-3)
        schedule = Cosine(warmup_steps=2, warmup_factor=0.1, final_factor=0.01)
        learner = Learner(
            segmenter,
            optimizer,
            schedule,
            max_grad_norm=chosen.max_grad_norm,
            ema_decay=chosen.ema_decay,
            seed=self.start.seed,
        )
        if self.start.training is not None:
            learner.restore(self.start.training, self.start.model)
        threads = ThreadTuner([1], validation=1)
        return Trainer(chosen, learner, loader, self.validate, self, RunCheckpoints(self.folder, self.start), threads)

    def fit(self) -> float:
        return self.trainer().fit()

    def log_scalars(self, step: int, values: Any) -> None:
        self.entries.append((step, dict(values)))

    def validate(self, segmenter: Trainable, step: int) -> dict[str, float]:
        self.validated.append((step, {name: value.clone() for name, value in segmenter.state_dict().items()}))
        return {"mask_ap": self.scores.pop(0) if self.scores else 0.0}

    def curve(self, name: str) -> list[float]:
        return [values[name] for _, values in self.entries if name in values]

    def minutes_at(self, step: int) -> float:
        """Return the minutes of training up to a step."""
        return next(values["train/minutes"] for at, values in self.entries if at == step and "train/minutes" in values)


def unet_run(*arguments: Any, **fields: Any) -> Run:
    """Prepare a run of a small U-Net, for rules of the loop that hold for any network: it takes a tenth of the time."""

    def network() -> Trainable:
        torch.manual_seed(0)
        return UNet(CLASSES, width=4)

    return Run(*arguments, **fields, network=network)
