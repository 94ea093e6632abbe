"""Fine-tune Mask R-CNN: compose, check, build, fit. ``python train.py --help`` lists what can be set."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from segtrain.data.dataset import CocoDataset
from segtrain.data.loading import TrainingLoader
from segtrain.data.settings import open_data
from segtrain.launch import launch
from segtrain.reporting.tensorboard import RunJournal
from segtrain.reporting.watch import Watch
from segtrain.runtime import resolve_device, resolve_precision, seed_everything, set_threads
from segtrain.training.checkpoint import fresh_checkpoint
from segtrain.training.resume import starting_point
from segtrain.training.summary import describe_run, training_samples
from segtrain.training.trainer import Trainer, parameter_groups
from segtrain.training.validation import Validation


def train(config: dict[str, Any], output_dir: Path) -> float:
    """Train as the configuration says; returns the best validation mask AP, so that sweepers can maximise it."""
    recipe = instantiate(config["trainer"], _convert_="all")
    device = resolve_device(config["device"])
    precision = resolve_precision(recipe.precision, device)
    set_threads(config["threads"], busy_workers=recipe.workers)
    seed_everything(config["seed"])

    data, max_dets = config["data"], config["data"]["max_dets"]
    splits = open_data(data, ["train", "val"], config["seed"])
    drawn = data["val_annotations"] is None
    start = starting_point(fresh_checkpoint(config, splits, precision, drawn), config["resume"], output_dir)
    segmenter = instantiate(config["segmenter"], _convert_="all")(start.class_names, initialise=start.training is None)
    segmenter.to(device).precision = precision

    journal = RunJournal(output_dir, start.step)
    journal.config(OmegaConf.to_yaml(config))
    watch = Watch(journal, splits["val"], recipe.validation_images)
    validation = Validation(splits["val"], max_dets, config["score_threshold"], watch)
    dataset = CocoDataset(
        splits["train"].index,
        splits["train"].images,
        instantiate(config["augmentation"], _convert_="all"),
        seed=config["seed"],
        on_bad_image=data["on_bad_image"],
        min_object_pixels=data["min_object_pixels"],
    )
    journal.samples(*training_samples(dataset, recipe.preview_images), start.class_names)
    describe_run(splits, segmenter, max_dets, output_dir)
    if recipe.max_steps == 0:
        return float("nan")

    loader = TrainingLoader(
        dataset, batch_size=recipe.batch_size, workers=recipe.workers, seed=config["seed"], pin_memory=device.type != "cpu"
    )
    optimizer = instantiate(config["optimizer"], _convert_="all")(parameter_groups(segmenter))
    schedule = instantiate(config["schedule"], _convert_="all")
    folder = output_dir / "checkpoints"
    trainer = Trainer(recipe, segmenter, loader, optimizer, schedule, validation, journal, folder, start)
    best = trainer.fit()
    journal.close()
    return best


if __name__ == "__main__":
    launch(train, Path(__file__).parent / "configs", "train")
