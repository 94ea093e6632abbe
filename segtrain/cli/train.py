"""The ``train`` command: fine-tune a network on COCO-format data."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from segtrain.cli.launch import Command
from segtrain.data.loader import TrainingLoader
from segtrain.data.open_data import open_data, training_samples
from segtrain.data.splits import save_split
from segtrain.nodes import build
from segtrain.runtime import resolve_device, resolve_precision, seed_everything
from segtrain.training.checkpoint import initial_checkpoint
from segtrain.training.learner import Learner, parameter_groups
from segtrain.training.logger import RunLogger
from segtrain.training.resume import find_resumed, initial_state, run_directory
from segtrain.training.summary import describe_run, first_samples
from segtrain.training.threads import choose_threads
from segtrain.training.trainer import Trainer
from segtrain.training.validation import Validation, ValidationImages, select_score_threshold


def train(config: dict[str, Any], output_dir: Path, command: Command) -> float:
    """Train as the configuration says; returns the best validation mask AP, so that sweepers can maximise it."""
    # Check what is cheap to check.
    recipe = build(config["trainer"])
    schedule = build(config["schedule"])
    augmentation = build(config["augmentation"])
    device = resolve_device(config["device"])
    precision = resolve_precision(recipe.precision, device)
    threads = choose_threads(config["threads"], recipe.workers, device)
    seed_everything(config["seed"])

    # Data and model.
    resumed = find_resumed(config["resume"], output_dir)
    val_ids = resumed.known_val_ids(config["data"]) if resumed else None
    splits = open_data(config["data"], ["train", "val"], config["seed"], val_ids)
    start = initial_state(initial_checkpoint(config, splits, precision), resumed)
    segmenter = build(config["segmenter"])(start.class_names, initialise=start.training is None)
    segmenter.to(device).precision = precision
    dataset = training_samples(splits["train"], augmentation, config["seed"], config["data"])
    optimizer = build(config["optimizer"], parameter_groups(segmenter))
    learner = Learner(
        segmenter,
        optimizer,
        schedule,
        max_grad_norm=recipe.max_grad_norm,
        ema_decay=recipe.ema_decay,
        seed=config["seed"],
    )

    samples = first_samples(dataset, recipe.preview_images)

    # All is checked: from here on the folder is this run's.
    with run_directory(output_dir, resumed):
        command.record(config, output_dir)
        save_split(splits, output_dir)
        journal = RunLogger(output_dir, start.step)
        journal.config(OmegaConf.to_yaml(config))
        journal.samples(*samples, start.class_names)
        describe_run(splits, segmenter, output_dir, check=config["data"]["check"] != "off")
        if recipe.max_steps == 0:
            return float("nan")

        watch = ValidationImages(journal, splits["val"], recipe.validation_images)
        validation = Validation(splits["val"], start.max_dets, start.score_threshold, watch)
        loader = TrainingLoader(
            dataset,
            batch_size=recipe.batch_size,
            workers=recipe.workers,
            seed=config["seed"],
            aspect_grouping=recipe.aspect_grouping,
            repeat_threshold=recipe.repeat_threshold,
            pin_memory=device.type == "cuda",
        )
        folder = output_dir / "checkpoints"
        best = Trainer(recipe, learner, loader, validation, journal, folder, start, threads).fit()
        if config["score_threshold"] == "auto":
            count, train_split = recipe.threshold_images, splits["train"]
            select_score_threshold(folder, segmenter, train_split, images=count, seed=config["seed"])
        journal.close()
        return best
