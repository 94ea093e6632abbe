"""Settings of a training run."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from segtrain.errors import SegtrainError
from segtrain.training.patience import Monitor
from segtrain.training.schedule import Limits
from segtrain.values import Natural, NonNegativeFloat, Positive, PositiveFloat, Precision

# Settings of train.py that change neither the weights of a run nor its numbers, as dotted keys.
WITHOUT_EFFECT = (
    "output_dir", "overwrite", "resume", "device", "threads", "logger", "data.cache", "data.cache_gb",
    "trainer.workers", "trainer.checkpoint_minutes", "trainer.forecast", "trainer.log_every", "trainer.preview_images",
    "trainer.validation_categories", "trainer.validation_images", "trainer.validation_losses",
)  # fmt: skip


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run; every field is a key of ``configs/trainer/*.yaml``.

    Attributes:
        batch_size: images per batch, in each process; "auto" for the number that `choose_batch_size` finds.
        workers: processes that load images ahead.
        epochs: limit in epochs, or None.
        max_steps: limit in optimizer steps, or None.
        max_minutes: limit in minutes of training steps and their waits for data, or None.
        aspect_grouping: True to fill each batch with images of similar aspect ratio.
        repeat_threshold: share of images below which a category is rare, and its images are shown more often; None to
            show each image once an epoch.
        precision: "fp32", "bf16", "fp16" with scaled losses, or "auto" for bf16 where the device computes it natively.
        max_grad_norm: largest norm of the gradient, to which longer ones are shortened; None for no limit.
        scale_lr: "none" for the learning rate as given, whatever the number of processes; "auto" to scale it with the
            number of processes.
        on_nan: "stop" to end at a step whose loss or gradient is not finite; "skip" to leave such steps out, and to end
            at the third in a row.
        accumulate_steps: batches whose gradients are averaged into one step.
        ema_decay: decay of the averaged weights that are validated and saved; None for the weights as they are.
        validate_every: epochs between validations; None for one at the end only.
        validation_losses: True to compute the losses of the validation images at each validation.
        patience: validations without a better value of `monitor`, after which the training ends; None to train to the
            limits.
        monitor: number of the validation that `patience` looks at, and by which the jobs of a sweep are ranked; of
            "loss" a lower value is better, of others a higher one.
        min_gain: difference to the best value so far up to which a value is not better.
        checkpoint_minutes: minutes of training between saves within an epoch; None for one an epoch.
        log_every: steps between entries of the log.
        forecast: True to compute trial steps before the first one, and to log the time and memory of the run.
        preview_images: number of augmented samples on the sheet that is drawn before the first step.
        validation_images: number of images drawn at each validation.
        validation_categories: largest number of categories that each validation records one by one.
        threshold_images: largest number of training images on which ``score_threshold=auto`` is chosen.

    Raises:
        SegtrainError: there is no limit, or `patience` lacks the validations or the losses that it looks at.
    """

    batch_size: Literal["auto"] | Positive
    workers: Natural
    epochs: Natural | None
    max_steps: Natural | None
    max_minutes: NonNegativeFloat | None
    aspect_grouping: bool
    repeat_threshold: Annotated[float, Meta(gt=0, le=1)] | None
    precision: Literal["auto"] | Precision
    max_grad_norm: PositiveFloat | None
    scale_lr: Literal["auto", "none"]
    on_nan: Literal["stop", "skip"]
    accumulate_steps: Positive
    ema_decay: Annotated[float, Meta(gt=0, lt=1)] | None
    validate_every: Positive | None
    validation_losses: bool
    patience: Positive | None
    monitor: Monitor
    min_gain: NonNegativeFloat
    checkpoint_minutes: PositiveFloat | None
    log_every: Positive
    forecast: bool
    preview_images: Positive
    validation_images: Natural
    validation_categories: Natural
    threshold_images: Positive

    def __post_init__(self) -> None:
        _ = self.limits  # raises if there is none
        if self.patience is None:
            return
        if self.validate_every is None:
            raise SegtrainError(
                f"trainer.patience={self.patience} needs validations within the training; set trainer.validate_every"
            )
        if self.monitor == "loss" and not self.validation_losses:
            raise SegtrainError("trainer.monitor=loss needs trainer.validation_losses=true")

    @property
    def limits(self) -> Limits:
        """The limits of the training."""
        return Limits(self.epochs, self.max_steps, self.max_minutes)
