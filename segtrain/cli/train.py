"""The ``train`` command: fine-tune a network on COCO-format data."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

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
from segtrain.data.splits import Split, SplitName, save_split
from segtrain.device import resolve_device, resolve_precision
from segtrain.nodes import build
from segtrain.runtime import seed_everything
from segtrain.segmenters import Trainable
from segtrain.stopping import Stopped
from segtrain.targets import Target
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
from segtrain.training.threads import ThreadTuner, choose_threads
from segtrain.training.trainer import Trainer
from segtrain.training.validation import Validation, require_windows
from segtrain.training.validation_charts import ValidationCharts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Run:
    """Run whose settings and data have been checked, before anything is written to its folder.

    Attributes:
        config: configuration.
        command: command that asked for the run.
        output_dir: folder.
        settings: limits, intervals and batch settings.
        device: device that computes.
        batch_size: number of images in a batch of each process.
        splits: training and validation images.
        dataset: training images, augmented.
        samples: some of them, and their targets, for a picture.
        learner: network with its optimizer, restored if the run is resumed.
        threads: tuner of the number of threads.
        start: state to begin from.
        origin: epochs, steps and minutes at which the schedule was restarted; None if it was not.
        resumed: checkpoint to go on from; None for a new run.
        changes: settings that differ from those of the resumed run.
    """

    config: dict[str, Any]
    command: Command
    output_dir: Path
    settings: TrainSettings
    device: torch.device
    batch_size: int
    splits: Mapping[SplitName, Split]
    dataset: CocoDataset
    samples: tuple[list[Tensor], list[Target]]
    learner: Learner
    threads: ThreadTuner
    start: Checkpoint
    origin: tuple[float, int, float] | None
    resumed: Resumed | None
    changes: Changes


def run_training(config: dict[str, Any], output_dir: Path, command: Command) -> float:
    """Train as the configuration says.

    Args:
        config: composed, resolved and checked configuration.
        output_dir: folder of the run.
        command: command that asked for it; recorded in the folder.

    Returns:
        The best value of ``trainer.monitor`` among the validations, by which sweeps rank their jobs; nan without one.
    """
    run = _prepare(config, output_dir, command)
    page = CurvesPage(output_dir)
    with run_directory(output_dir, run.resumed):  # from here on the folder is this run's
        run_logger = _begin_log(run, page) if distributed.is_first() else None
        if run.settings.max_steps == 0:
            return float("nan")
        trainer = _build_trainer(run, run_logger)
        finished = False
        try:
            _train(run, trainer)
            finished = True
        except Stopped as stop:
            again = _continuation(run, trainer)
            raise Stopped(stop.number, f"stopped at step {trainer.state.step}; go on with: {again}") from None
        finally:
            if run_logger is not None:
                run_logger.close(finished=finished)
                page.update(last=True)
        best = RunHistory.read(output_dir).best(run.settings.monitor)
        return float("nan") if best is None else best


def _prepare(config: dict[str, Any], output_dir: Path, command: Command) -> _Run:
    """Open the data, build the network and restore the state of a run; nothing is written."""
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
    return _Run(
        config, command, output_dir, settings, device, batch_size, splits, dataset, samples,
        learner, threads, start, origin, resumed, changes,
    )  # fmt: skip


def _begin_log(run: _Run, page: CurvesPage) -> RunLogger:
    """Record the command, the data and the settings of a run in its folder, and open its logger."""
    resumed, start, output_dir = run.resumed, run.start, run.output_dir
    run.command.record(run.config, output_dir, None if resumed is None else run.changes)
    log_changes(run.changes, within_epoch=resumed is not None and resumed.is_within_epoch)
    save_split(run.splits, output_dir)
    save_intensity(run.splits, output_dir)
    validated_at = -1 if start.training is None else start.training["validated_at"]
    run_logger = RunLogger(output_dir, start.step, validated_at, run.config["logger"], page.update)
    run_logger.log_settings(run.command.given_settings(), OmegaConf.to_yaml(run.config))
    run_logger.log_data(start.training_images, start.training_objects)
    run_logger.log_samples(*run.samples, start.class_names)
    is_checked = run.config["data"]["check"] != "off"
    describe_run(run.splits, run.dataset, run.learner.segmenter, output_dir, start.max_dets, check=is_checked)
    return run_logger


def _build_trainer(run: _Run, run_logger: RunLogger | None) -> Trainer:
    """Build the trainer of a run.

    Args:
        run: the run.
        run_logger: receives its numbers; None in processes that write nothing.
    """
    settings, seed, start, val = run.settings, run.config["seed"], run.start, run.splits["val"]
    show = ValidationCharts(run_logger, val, settings.validation_images, settings.validation_categories)
    validation = Validation(
        val, start.max_dets, start.score_threshold, show, losses=settings.validation_losses, seed=seed,
        class_agnostic=run.config["sweep"]["reference"] is not None,
    )  # fmt: skip
    loader = TrainingLoader(
        run.dataset, batch_size=run.batch_size * distributed.size(), workers=settings.workers, seed=seed,
        aspect_grouping=settings.aspect_grouping, repeat_threshold=settings.repeat_threshold,
        showings=run.splits["train"].showings,
        pin_memory=run.device.type == "cuda", part=(distributed.rank(), distributed.size()),
    )  # fmt: skip
    checkpoints = RunCheckpoints(run.output_dir / "checkpoints", start, schedule_origin=run.origin)
    return Trainer(
        settings, run.learner, loader, validation, run_logger, checkpoints, run.threads, judge_of(run.command)
    )


def _train(run: _Run, trainer: Trainer) -> None:
    """Train with a forecast before, and a choice of the score threshold behind it where none is given."""
    settings, threshold = run.settings, run.config["score_threshold"]
    is_chosen = not isinstance(threshold, int | float)
    if settings.forecast:
        announce(
            trainer, run.dataset, run.splits["val"], presets=minutes_of_presets(),
            threshold_images=settings.threshold_images if is_chosen else 0,
        )  # fmt: skip
    trainer.fit()
    if trainer.pruned is not None:
        return
    if distributed.is_first():
        say_how_it_fits(run.output_dir)
    if is_chosen:
        select_score_threshold(
            trainer.checkpoints.folder, run.learner.segmenter, run.splits["train"], images=settings.threshold_images,
            seed=run.config["seed"], given=None if threshold == "auto" else threshold,
        )  # fmt: skip


def _continuation(run: _Run, trainer: Trainer) -> str:
    """Return the command that goes on with a run that was stopped."""
    folder, here = run.output_dir, Path.cwd()
    settings = {"output_dir": str(folder.relative_to(here) if folder.is_relative_to(here) else folder)}
    if (trainer.checkpoints.folder / "last.pt").exists():  # a state of this run; one that it replaces lies aside
        settings["resume"] = "auto"
        if run.config["resume"]["schedule"] == "restart" and trainer.state.step == run.start.step:
            settings["resume.schedule"] = "restart"  # of which that state does not tell yet
    return run.command.line_with(**settings)


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
