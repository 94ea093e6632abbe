"""Sentences on the fit of a training run: overfitting, underfitting, and the use of a longer training."""

from segtrain.training.run_history import RunHistory

RISE = 0.05  # share by which the validation loss exceeds its lowest value when a network overfits
GAIN = 0.01  # mask AP that the last quarter of a training gains if a longer one would probably help
FALL = 0.03  # share by which the training loss falls from the third quarter to the last one if it still falls
_FEW = 40  # steps, below which the loss of a quarter is that of a few batches
_LAST = 0.75  # share of the steps where the last quarter begins


def describe_fit(history: RunHistory) -> list[str]:
    """Describe how well a run fits its data, by the rules that docs/training.md states; one sentence each.

    Args:
        history: numbers of the run, with one validation at least.

    >>> validations = {"validation/mask_ap": [(10, 0.2), (20, 0.3)], "train/minutes": [(20, 8.0)]}
    >>> describe_fit(RunHistory(validations))
    ['Mask AP still rose by 0.100 in the last 4.0 min of training: another 4 minutes would probably help.']
    """
    found = _overfitting(history)
    return [*found, *(_still_rising(history) if not found else [])]


def _overfitting(history: RunHistory) -> list[str]:
    """Compare the validation loss with its lowest value, and the training loss before and after that."""
    losses = history.of("validation/loss")
    if len(losses) < 3:
        return []
    (at, lowest), (end, last) = min(losses, key=lambda entry: entry[1]), losses[-1]
    before, after = history.mean("train/loss", 0.8 * at, at), history.mean("train/loss", end - 0.2 * at, end)
    if last <= (1 + RISE) * lowest or before is None or after is None or after >= before:
        return []
    return [
        f"Overfitting: since step {at} the loss of the validation images has risen by {last / lowest - 1:.0%}, while "
        f"that of training has fallen by {1 - after / before:.0%}. More images, a stronger augmentation or a shorter "
        "training (trainer.patience, trainer.monitor=loss) would help; best.pt has the weights of the highest mask AP."
    ]


def _still_rising(history: RunHistory) -> list[str]:
    """Compare the last mask AP with that before the last quarter of the training."""
    values = history.of("validation/mask_ap")
    if len(values) < 2:
        return _of_single_validation(history)
    end, last = values[-1]
    at, before = [entry for entry in values[:-1] if entry[0] <= _LAST * end or entry == values[0]][-1]
    span = history.minutes_at(end) - history.minutes_at(at)
    if last - before > GAIN and last >= max(value for _, value in values):
        longer = max(1, round(history.minutes_at(end) / 2))
        return [
            f"Mask AP still rose by {last - before:.3f} in the last {span:.1f} min of training: another "
            f"{f'{longer} minutes' if longer > 1 else 'minute'} would probably help."
        ]
    if last < GAIN:
        return [_nothing_yet(last)]
    if (fall := _fall_of_loss(history, end)) > FALL:
        return [
            f"The training loss still falls, by {fall:.0%} in the last quarter, but mask AP rose by no "
            f"more than {GAIN:g}: a longer training may help, or it begins to overfit."
        ]
    return [
        f"Mask AP has not risen by more than {GAIN:g} in the last {span:.1f} min of training, and the training loss "
        "hardly falls: a longer training would probably bring little; more images or a larger network may."
    ]


def _of_single_validation(history: RunHistory) -> list[str]:
    """Judge by the training loss alone, which does not show when a network begins to overfit."""
    if not (values := history.of("validation/mask_ap")):
        return []
    end, last = values[-1]
    if last < GAIN:
        return [_nothing_yet(last)]
    fall = _fall_of_loss(history, end)
    if end < _FEW or fall <= FALL:
        return []
    return [
        f"The training loss still fell by {fall:.0%} in the last quarter of the steps: a longer training would "
        "probably help. With a single validation (trainer.validate_every) it is not known whether mask AP still rose."
    ]


def _nothing_yet(mask_ap: float) -> str:
    return f"Hardly any object is found well enough yet (mask AP {mask_ap:.3f}): this says little; train longer."


def _fall_of_loss(history: RunHistory, end: int) -> float:
    """Return the share by which the training loss falls from the third quarter to the last one; 0 if it is unknown."""
    third, fourth = history.mean("train/loss", end / 2, _LAST * end), history.mean("train/loss", _LAST * end, end)
    return 1 - fourth / third if third and fourth is not None else 0.0
