"""The best settings on training images; the only door to Optuna."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Annotated, Any

from msgspec import Meta

from segtrain.errors import SegtrainError
from segtrain.tuning import space as spaces
from segtrain.tuning.objective import Metric, Objective
from segtrain.tuning.space import Candidate, Node
from segtrain.tuning.training_images import TrainingImages

PROMISING = 50.0  # percentile: a trial goes on if it is among this share of those that were scored on all images
STARTUP = 10  # trials drawn at random before the sampler models them


@dataclass(frozen=True)
class Budget:
    """When a search ends: at the first of the two.

    Attributes:
        seconds: None for no limit.
        trials: None for no limit.

    Raises:
        SegtrainError: there is no limit.
    """

    seconds: Annotated[float, Meta(gt=0)] | None
    trials: Annotated[int, Meta(ge=1)] | None

    def __post_init__(self) -> None:
        if self.seconds is None and self.trials is None:
            raise SegtrainError("tune.seconds and tune.trials are both null; a search needs one of them to end")


@dataclass(frozen=True)
class Winner:
    """What a search found.

    Attributes:
        node: the segmenter with the best settings; the first candidate as it stands if no trial was completed.
        settings: what was varied of it, by name, as it won; empty if no trial was completed.
        value: its metric on all images; nan if no trial was completed.
        standing: the best value of the candidates as they stand; nan if none of them was completed.
        trials: how many were begun and told.
        completed: how many of them were scored on all images.
        seconds: what the search took.
    """

    node: Node
    settings: dict[str, Any]
    value: float
    standing: float
    trials: int
    completed: int
    seconds: float


class Tuned:
    """A row whose settings are searched on the training split.

    Args:
        candidates: segmenters by name, as nodes.
        space: for each of them, the values to try; one that it lacks is tried as it stands. See ``space.candidates``.
        description: one sentence for the report.

    Raises:
        SegtrainError: the space does not fit the candidates.
    """

    def __init__(self, candidates: dict[str, Any], space: dict[str, Any], description: str) -> None:
        self.candidates = _candidates(candidates, space)
        self.description = description


def _candidates(nodes: Mapping[str, Any], space: Mapping[str, Any]) -> list[Candidate]:
    found = spaces.candidates(nodes, space)
    for candidate in found:
        for dimension, own in zip(candidate.dimensions, candidate.own_values(), strict=True):
            if own not in dimension.values:
                where = f"space.{candidate.name}.{dimension.name}"
                raise SegtrainError(
                    f"{where}: {list(dimension.values)} lacks {own}, which the candidate itself has and which is tried "
                    "first; add it"
                )
    return found


def search(
    row: Tuned,
    images: TrainingImages,
    *,
    metric: Metric,
    max_dets: int,
    budget: Budget,
    seed: int,
    show: Callable[[int, float, float], None],
) -> Winner:
    """Search by multivariate Parzen estimators (Falkner et al., 2018), with hopeless trials ended early.

    Settings are modelled together: after 90 trials on 60 images of nuclei, seeds 0 and 1, mask AP was .393 and .361 for
    k-means and .364 and .379 for edges; with one model a setting .368, .352, .364, .372 (the standard settings: .354,
    .352, .364, .372).

    The candidates as they stand are the first trials. Within ``budget.trials`` the result depends on the seed alone;
    within ``budget.seconds`` also on the speed of the machine.

    Args:
        row: what is searched.
        images: what on.
        metric: class-agnostic, to be maximised; mIoU takes every detection.
        max_dets: detections per image that average precision uses.
        budget: when it ends.
        seed: of the sampler.
        show: told after each trial how many there were, the best value so far (nan: none) and the seconds passed.
    """
    import optuna  # half a second to import

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searched = sum(bool(candidate.dimensions) for candidate in row.candidates)
    with warnings.catch_warnings():  # `group` models the settings of each candidate apart
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, group=True)
    study = optuna.create_study(
        direction="maximize",
        sampler=sampler,
        pruner=optuna.pruners.PercentilePruner(PROMISING, n_startup_trials=searched),
    )
    started = time.perf_counter()
    best, won, value, standing, trials, completed = row.candidates[0].node, dict[str, Any](), nan, nan, 0, 0
    known: dict[str, float] = {}  # by settings: the sampler may propose the same ones again
    objective = Objective(images, metric, max_dets, None if budget.seconds is None else started + budget.seconds)
    settings = sum(candidate.size for candidate in row.candidates)
    for trial, node, values in _proposals(study, row.candidates):
        key = repr(node)
        if key not in known:
            known[key] = objective(node, trial)
        if objective.late() and isnan(known[key]):
            break
        trials += 1
        if isnan(known[key]):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, known[key])
            completed += 1
            if not known[key] <= value:  # true as well while there is none
                best, won, value = node, values, known[key]
        if trials <= len(row.candidates):
            standing = value
        show(trials, value, time.perf_counter() - started)
        if objective.late() or trials == budget.trials or len(known) == settings:
            break
    return Winner(best, won, value, standing, trials, completed, time.perf_counter() - started)


def _proposals(study: Any, row: Sequence[Candidate]) -> Iterator[tuple[Any, Node, dict[str, Any]]]:
    """Trials, as a node and by name: the candidates as they stand, then what the sampler wants tried.

    Candidates of which nothing is varied are kept from the sampler, which would propose them again and again.
    """
    searched = [candidate for candidate in row if candidate.dimensions]
    for candidate in row:
        if candidate.dimensions:
            study.enqueue_trial({"candidate": candidate.name, **_own_places(candidate)})
            yield _drawn(study.ask(), searched)
        else:
            yield study.ask(), candidate.node, {candidate.name: ""}
    while searched:
        yield _drawn(study.ask(), searched)


def _own_places(candidate: Candidate) -> dict[str, int]:
    """Where in the lists of values those of the candidate itself are."""
    pairs = zip(candidate.dimensions, candidate.own_values(), strict=True)
    return {f"{candidate.name}.{dimension.name}": dimension.values.index(own) for dimension, own in pairs}


def _drawn(trial: Any, searched: Sequence[Candidate]) -> tuple[Any, Node, dict[str, Any]]:
    """A trial with its settings; the sampler draws places in the lists of values."""
    names = [candidate.name for candidate in searched]
    candidate = searched[names.index(trial.suggest_categorical("candidate", names))]
    values = []
    for dimension in candidate.dimensions:
        name, places = f"{candidate.name}.{dimension.name}", range(len(dimension.values))
        place = trial.suggest_int(name, 0, places[-1]) if dimension.ordered else trial.suggest_categorical(name, places)
        values.append(dimension.values[place])
    named = zip([dimension.path[-1] for dimension in candidate.dimensions], values, strict=True)
    return trial, candidate.with_values(values), {candidate.name: "", **dict(named)}
