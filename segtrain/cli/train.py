"""The ``train`` command: fine-tune a network on COCO-format data."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from segtrain import distributed
from segtrain.cli.command_line import Command
from segtrain.cli.config import minutes_of_presets
from segtrain.cli.optuna_sweeper import judge_of
from segtrain.cli.run_curves import CurvesPage
from segtrain.data.dataset import CocoDataset
from segtrain.data.layouts import with_folds, with_layout
from segtrain.data.loader import TrainingLoader
from segtrain.data.open_data import open_data, require_same_data, training_samples
from segtrain.data.split_intensity import save_intensity
from segtrain.data.splits import save_split
from segtrain.device import resolve_device, resolve_precision
from segtrain.nodes import build
from segtrain.runtime import seed_everything
from segtrain.segmenters import Trainable
from segtrain.stopping import Stopped
from segtrain.training.batch_size import choose_batch_size
from segtrain.training.checkpoint import Checkpoint, build_trainable, check_trainable
from segtrain.training.forecast import announce
from segtrain.training.learner import Learner, parameter_groups
from segtrain.training.logger import RunLogger
from segtrain.training.parallel import scale_learning_rate
from segtrain.training.rehearsal import pending_state_bytes
from segtrain.training.resume import (
    Changes,
    Resumed,
    changed_settings,
    find_resumed,
    initial_state,
    log_changes,
    run_directory,
    schedule_origin,
)
from segtrain.training.run_history import RunHistory
from segtrain.training.run_state import RunCheckpoints
from segtrain.training.schedule import Restarted
from segtrain.training.score_threshold import select_score_threshold
from segtrain.training.settings import TrainSettings
from segtrain.training.summary import describe_run, first_samples, known_inputs, say_how_it_fits
from segtrain.training.threads import choose_threads
from segtrain.training.trainer import Trainer
from segtrain.training.validation import Validation, require_windows
from segtrain.training.validation_charts import ValidationCharts

logger = logging.getLogger(__name__)


def run_training(config: dict[str, Any], output_dir: Path, command: Command) -> float:
    """Train as the configuration says.

    Args:
        config: composed, resolved and checked configuration.
        output_dir: folder of the run.
        command: command that asked for it; recorded in the folder.

    Returns:
        The best value of ``trainer.monitor`` among the validations, by which sweeps rank their jobs; nan without one.
    """
    config = {**config, "data": with_layout(with_folds(config["data"]))}
    settings, schedule, augmentation = (build(config[part]) for part in ("trainer", "schedule", "augmentation"))
    seed, device = config["seed"], resolve_device(config["device"])
    precision = resolve_precision(settings.precision, device)
    threads = choose_threads(config["threads"], settings.workers, device)
    seed_everything(seed)

    resumed = distributed.from_first(lambda: find_resumed(config["resume"]["path"], output_dir))
    if resumed is None:
        check_trainable(config["segmenter"])
    val_ids = resumed.known_val_ids(config["data"]) if resumed else None
    intensity = resumed.intensity if resumed else None
    with distributed.in_turn():
        splits = open_data(config["data"], ["train", "val"], seed, val_ids, intensity=intensity)
        initial = Checkpoint.initial(config, splits, precision)
        node = resumed.known_settings(config["segmenter"]) if resumed else config["segmenter"]
        segmenter = build_trainable(node, initial.class_names, initialise=resumed is None)
    require_same_data(splits)
    if config["sweep"]["reference"] is not None:
        from segtrain.report.learning_section import require_same_images  # only here: it imports what reports need

        require_same_images(Path(config["sweep"]["reference"]), initial.contents["val"])
    segmenter.to(device).precision = precision
    dataset = training_samples(splits["train"], augmentation, seed, config["data"])
    optimizer = build(config["optimizer"], parameter_groups(segmenter))
    batch_size = _batch_size(settings, resumed, segmenter, dataset, optimizer)
    segmenter.inputs = known_inputs(segmenter, dataset, splits["val"])
    require_windows(segmenter, splits["val"])
    initial = replace(initial, inputs=segmenter.inputs.to_plain())
    initial = initial.with_settings("segmenter", segmenter.resolved_settings)
    initial = initial.with_settings("trainer", {"batch_size": batch_size})
    start = initial_state(initial, resumed, segmenter.resume_keys)
    changes: Changes = {}
    if resumed is not None:
        resumed.require_same_data(initial)
        changes = changed_settings(resumed.state.config, initial.config)
    origin = schedule_origin(start, restart=resumed is not None and config["resume"]["schedule"] == "restart")
    if origin is not None:
        schedule = Restarted(schedule, settings.limits.progress(*origin), int(origin[1]))
    scale_learning_rate(optimizer, settings.scale_lr, batch_size * settings.accumulate_steps)
    learner = Learner(
        segmenter, optimizer, schedule,
        max_grad_norm=settings.max_grad_norm, ema_decay=settings.ema_decay, seed=seed,
    )  # fmt: skip
    if start.training is not None:
        assert resumed is not None
        learner.restore(start.training, start.model, str(resumed.path))
    samples = first_samples(dataset, settings.preview_images)

    # All is checked: from here on the folder is this run's.
    page = CurvesPage(output_dir)
    with run_directory(output_dir, resumed):
        logger: RunLogger | None = None
        if distributed.is_first():
            command.record(config, output_dir, None if resumed is None else changes)
            log_changes(changes, within_epoch=resumed is not None and resumed.is_within_epoch)
            save_split(splits, output_dir)
            save_intensity(splits, output_dir)
            validated_at = -1 if start.training is None else start.training["validated_at"]
            logger = RunLogger(output_dir, start.step, validated_at, config["logger"], page.update)
            logger.log_settings(command.given_settings(), OmegaConf.to_yaml(config))
            logger.log_data(initial.training_images, initial.training_objects)
            logger.log_samples(*samples, start.class_names)
            is_checked = config["data"]["check"] != "off"
            describe_run(splits, dataset, segmenter, output_dir, start.max_dets, check=is_checked)
        if settings.max_steps == 0:
            return float("nan")
        show = ValidationCharts(logger, splits["val"], settings.validation_images, settings.validation_categories)
        validation = Validation(
            splits["val"], start.max_dets, start.score_threshold, show, losses=settings.validation_losses, seed=seed,
            class_agnostic=config["sweep"]["reference"] is not None,
        )  # fmt: skip
        loader = TrainingLoader(
            dataset, batch_size=batch_size * distributed.size(), workers=settings.workers, seed=seed,
            aspect_grouping=settings.aspect_grouping, repeat_threshold=settings.repeat_threshold,
            showings=splits["train"].showings,
            pin_memory=device.type == "cuda", part=(distributed.rank(), distributed.size()),
        )  # fmt: skip
        checkpoints = RunCheckpoints(output_dir / "checkpoints", start, schedule_origin=origin)
        judge = judge_of(command)
        trainer = Trainer(settings, learner, loader, validation, logger, checkpoints, threads, judge)
        is_chosen = not isinstance(config["score_threshold"], int | float)
        finished = False
        try:
            if settings.forecast:
                announce(
                    trainer, dataset, splits["val"], presets=minutes_of_presets(),
                    threshold_images=settings.threshold_images if is_chosen else 0,
                )  # fmt: skip
            trainer.fit()
            if distributed.is_first() and trainer.pruned is None:
                say_how_it_fits(output_dir)
            if is_chosen and trainer.pruned is None:
                select_score_threshold(
                    checkpoints.folder, segmenter, splits["train"], images=settings.threshold_images, seed=seed,
                    given=None if config["score_threshold"] == "auto" else config["score_threshold"],
                )  # fmt: skip
            finished = True
        except Stopped as stop:
            saved = (checkpoints.folder / "last.pt").exists()  # one that this run replaces lies aside
            anew = config["resume"]["schedule"] == "restart" and trainer.state.step == start.step
            again = command.line_with(**_continued(output_dir, saved=saved, restart=anew))
            raise Stopped(stop.number, f"stopped at step {trainer.state.step}; go on with: {again}") from None
        finally:
            if logger is not None:
                logger.close(finished=finished)
                page.update(last=True)
        best = RunHistory.read(output_dir).best(settings.monitor)
        return float("nan") if best is None else best


def _continued(output_dir: Path, *, saved: bool, restart: bool) -> dict[str, str]:
    """Return the settings with which the command of a run that was stopped goes on.

    Args:
        output_dir: folder of the run.
        saved: True if it holds a state of this run.
        restart: True if that state does not yet tell that the schedule begins anew.
    """
    folder = output_dir.relative_to(Path.cwd()) if output_dir.is_relative_to(Path.cwd()) else output_dir
    resume = {"resume": "auto", **({"resume.schedule": "restart"} if restart else {})}
    return {"output_dir": str(folder), **(resume if saved else {})}


def _batch_size(
    settings: TrainSettings,
    resumed: Resumed | None,
    segmenter: Trainable,
    dataset: CocoDataset,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Return the number of images in a batch of each process; for "auto" that of the resumed run, or a chosen one."""
    if settings.batch_size != "auto":
        return settings.batch_size
    if resumed is not None and resumed.batch_size is not None:
        logger.info(f"trainer.batch_size=auto: {resumed.batch_size}, as in the run that is resumed")
        return resumed.batch_size
    if settings.max_steps == 0:
        return 1
    averages = 0 if settings.ema_decay is None else sum(tensor.nbytes for tensor in segmenter.state_dict().values())
    return choose_batch_size(segmenter, dataset, pending_state_bytes(optimizer) + averages)
