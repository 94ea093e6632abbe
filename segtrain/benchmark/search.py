"""Search for the best settings on training images, by successive halving."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, isnan, nan
from typing import Any

from segtrain import distributed
from segtrain.benchmark import search_space as spaces
from segtrain.benchmark.proposals import Proposals, Setting
from segtrain.benchmark.search_space import Candidate, Node
from segtrain.benchmark.setting_scorer import FEW, SOME, SettingScorer
from segtrain.errors import SegtrainError
from segtrain.stopping import stop_requested
from segtrain.values import Positive, PositiveFloat

BATCH = 24  # settings that are compared on the same parts of images
KEPT = 12  # one of so many goes on to whole images
PARENTS = 8  # best settings that new ones are varied from
FINALISTS = 3  # settings that are scored on all images at the end, as they were good on some
_BLOCK = 8  # images that the candidates' own settings are scored on at a time
_STANDING = 1 / 2  # share of the time that the candidates' own settings may take, before images are left out


@dataclass(frozen=True)
class Budget:
    """Limits of a search, which ends at the first one that is reached.

    Attributes:
        seconds: limit of time; None for no limit.
        trials: limit of the number of settings that are tried; None for no limit.

    Raises:
        SegtrainError: both limits are None.
    """

    seconds: PositiveFloat | None
    trials: Positive | None

    def __post_init__(self) -> None:
        if self.seconds is None and self.trials is None:
            raise SegtrainError("tune.seconds and tune.trials are both null; a search needs one of them to end")

    def used(self, trials: int, seconds: float) -> float:
        """Compute the used share of the budget, in [0, 1], by the nearest limit.

        >>> Budget(seconds=60, trials=10).used(trials=2, seconds=30)
        0.5
        """
        return min(1.0, max(trials / (self.trials or inf), seconds / (self.seconds or inf)))


@dataclass(frozen=True)
class Trials:
    """Settings that a search has tried, and their metric; an interrupted search goes on from them.

    Attributes:
        settings: all settings that were tried, each on parts of a few images at least.
        on_some: metric of the settings that were scored on some whole images.
        on_all: metric of the settings that were scored on all images of the search.
    """

    settings: list[Setting] = field(default_factory=list)
    on_some: dict[Setting, float] = field(default_factory=dict)
    on_all: dict[Setting, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Winner:
    """Outcome of a search.

    Attributes:
        node: configuration of the segmenter with the best settings; that of the first candidate if no trial was
            completed.
        settings: best values of the varied settings, by name; empty if no trial was completed.
        value: metric on all images; nan if no trial was completed.
        standing: best metric of the candidates with their own settings; nan if none of them was completed.
        images: number of images of the search: all training images, or as many of them as the time allowed.
        objects: number of true objects in them, without crowds.
        seconds: duration of the search.
        tried: settings that were tried, and their metric.
    """

    node: Node
    settings: dict[str, Any]
    value: float
    standing: float
    images: int
    objects: int
    seconds: float
    tried: Trials

    @property
    def trials(self) -> int:
        """Number of settings that were tried."""
        return len(self.tried.settings)

    @property
    def completed(self) -> int:
        """Number of settings that were scored on all images."""
        return len(self.tried.on_all)


class Tuned:
    """Method whose settings are searched on the training split.

    Args:
        candidates: configurations of segmenters by name.
        space: values to try of each candidate, see ``search_space.candidates``; a candidate without any is tried with
            its own settings only.
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
    scorer: SettingScorer,
    *,
    budget: Budget,
    seed: int,
    show: Callable[[float, int, float], None],
    begun: Winner | None = None,
) -> Winner:
    """Search settings by successive halving: many are tried on a few images, and the best of them on more.

    First the candidates with their own settings are scored on all images, so that nothing worse is ever returned. Then
    settings come in batches, some drawn anew, most of them variations of the best ones so far. A batch is tried on
    parts of a few images, other ones each time; one in twelve goes on to some whole images, and what is better there
    than the best one so far to all images. The best setting on all images wins.

    Of several processes, the first one chooses the settings, all segment, and all get the outcome. With
    ``budget.trials`` alone the result depends on the seed, and not on the number of processes; with ``budget.seconds``
    also on the speed of the machine. Where the candidates' own settings would take more than half of the time, there
    are fewer images for all settings.

    Args:
        row: candidates and their search spaces.
        scorer: scores on training images.
        budget: limits of the search.
        seed: seed of the proposals.
        show: called with the used share of the budget, the number of settings that were tried, and the best value so
            far, nan without any.
        begun: outcome of the same search until a signal has interrupted it; the budget includes what that has used.

    Source: Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization (2016);
    variations of the best as in Awad et al., DEHB (2021).
    """
    winner: Winner | None = None
    if distributed.is_first():
        winner = _Search(row, scorer, budget, seed, show, begun).run()
        scorer.end()
    else:
        scorer.help_first()
    winner = distributed.from_first(lambda: winner)
    assert winner is not None
    return winner


class _Search:
    """State of a search; see `search`."""

    def __init__(
        self,
        row: Tuned,
        scorer: SettingScorer,
        budget: Budget,
        seed: int,
        show: Callable[[float, int, float], None],
        begun: Winner | None,
    ) -> None:
        self._row, self._scorer, self._budget, self._show = row, scorer, budget, show
        tried = Trials() if begun is None else begun.tried
        self._tried = list(tried.settings)
        # Of another seed than the proposals at first.
        self._proposals = Proposals(row.candidates, seed + len(self._tried), self._tried)
        self._started = time.perf_counter() - (0.0 if begun is None else begun.seconds)
        self._deadline = inf if budget.seconds is None else self._started + budget.seconds
        self._views = scorer.views if begun is None else scorer.views[: begun.images]
        self._batches = len(self._tried) // BATCH
        self._parts: dict[Setting, list[Any]] = {}  # by setting that was scored on some images: its scores of these
        self._on_some, self._on_all = dict(tried.on_some), dict(tried.on_all)
        self._segmented = 0  # views of batches
        self._completing = 0  # views of settings that were scored on all images after that

    def run(self) -> Winner:
        """Search until the budget is used."""
        standing = self._proposals.standing()[: self._budget.trials]
        if not self._on_all:
            self._score_standing(standing)
        before = self._best(standing)
        if self._on_all:
            self._try_batches()
            self._complete(FINALISTS)
        best = self._best(list(self._on_all))
        seconds = time.perf_counter() - self._started
        objects = sum(len(view.objects) for view in self._views)
        counts = len(self._views), objects
        tried = Trials(self._tried, self._on_some, self._on_all)
        if best is None:
            return Winner(self._row.candidates[0].node, {}, nan, nan, *counts, seconds, tried)
        node, settings = self._proposals.node(best), self._proposals.described(best)
        assert before is not None
        return Winner(node, settings, self._on_all[best], self._on_all[before], *counts, seconds, tried)

    def _score_standing(self, settings: Sequence[Setting]) -> None:
        """Score the candidates with their own settings, on as many images as there is time for."""
        nodes = [self._proposals.node(setting) for setting in settings]
        parts: list[list[Any]] = [[] for _ in settings]
        allowed = inf if self._budget.seconds is None else _STANDING * self._budget.seconds
        done = 0
        while done < len(self._views):
            block = self._views[done : done + _BLOCK]
            began = time.perf_counter()
            if done and began - self._started + (began - self._started) / done * len(block) > allowed:
                break
            found = self._scorer.segment(nodes, block, self._deadline)
            if found is None:
                break
            for own, new in zip(parts, found, strict=True):
                own += new
            done += len(block)
            self._tried = list(settings)
            self._tell()
        self._views = self._views[: done or None]
        for setting, own in zip(settings, parts, strict=True):
            if done:
                self._on_some[setting] = self._scorer.value(self._some, own[: len(self._some)])
                self._on_all[setting] = self._scorer.value(self._views, own)
        self._tell()

    @property
    def _some(self) -> Sequence[Any]:
        return self._views[:SOME]

    def _try_batches(self) -> None:
        """Try batches of settings until the budget is used, or all settings are known."""
        longest = 0.0
        while not self._late():
            began = time.perf_counter()
            if began + longest > self._deadline:
                return
            left = BATCH if self._budget.trials is None else min(BATCH, self._budget.trials - len(self._tried))
            settings = self._proposals.draw(left, self._parents())
            if not settings or not self._try_batch(settings):
                return
            self._tell()
            if self._completing <= self._segmented and self._is_better_on_some():
                self._complete(1)
            longest = max(longest, time.perf_counter() - began)

    def _try_batch(self, settings: Sequence[Setting]) -> bool:
        """Score settings on parts of a few images, and the best of them on some images; False if the time was up."""
        if len(self._views) > FEW:
            first = self._batches * FEW
            parts = [self._scorer.parts[place % len(self._some)] for place in range(first, first + FEW)]
            found = self._segment(settings, parts)
            if found is None:
                return False
            self._segmented += len(settings) * FEW
            values = {setting: self._scorer.value(parts, own) for setting, own in zip(settings, found, strict=True)}
            kept = _ranked(values)[: ceil(len(settings) / KEPT)]
        else:
            kept = list(settings)
        self._batches += 1
        self._tried += settings
        found = self._segment(sorted(kept), self._some)
        if found is None:
            return False
        self._segmented += len(kept) * len(self._some)
        for setting, own in zip(sorted(kept), found, strict=True):
            self._on_some[setting] = self._scorer.value(self._some, own)
            if len(self._some) == len(self._views):
                self._on_all[setting] = self._on_some[setting]
            else:
                self._parts[setting] = own
        return True

    def _complete(self, count: int) -> None:
        """Score the best settings on some images on all images, unless they were so before or the time is up."""
        for setting in self._waiting()[:count]:
            own = self._parts.get(setting, [])  # none where they were scored before an interruption
            rest = self._views[len(own) :]
            found = self._segment([setting], rest)
            if found is None:
                return
            self._completing += len(rest)
            self._on_all[setting] = self._scorer.value(self._views, [*own, *found[0]])
            self._parts.pop(setting, None)
            self._tell()

    def _is_better_on_some(self) -> bool:
        """Tell whether a setting that was not scored on all images beats the best one that was, on some images."""
        best, waiting = self._best(list(self._on_all)), self._waiting()
        return best is not None and bool(waiting) and not self._on_some[waiting[0]] <= self._on_some[best]

    def _waiting(self) -> list[Setting]:
        """List the settings that were scored on some images and not on all, the best first."""
        return _ranked({setting: value for setting, value in self._on_some.items() if setting not in self._on_all})

    def _segment(self, settings: Sequence[Setting], views: Sequence[Any]) -> list[list[Any]] | None:
        return self._scorer.segment([self._proposals.node(one) for one in settings], views, self._deadline)

    def _parents(self) -> list[Setting]:
        return _ranked(self._on_some)[:PARENTS]

    def _best(self, settings: Sequence[Setting]) -> Setting | None:
        """Return the best of the settings that were scored on all images, the first of equal ones."""
        known = {setting: self._on_all[setting] for setting in settings if setting in self._on_all}
        return next(iter(_ranked(known)), None)

    def _late(self) -> bool:
        return bool(stop_requested()) or time.perf_counter() >= self._deadline

    def _tell(self) -> None:
        best = self._best(list(self._on_all))
        used = self._budget.used(len(self._tried), time.perf_counter() - self._started)
        self._show(used, len(self._tried), nan if best is None else self._on_all[best])


def _ranked(values: Mapping[Setting, float]) -> list[Setting]:
    """Sort settings by their values, the best first; undefined values come last."""
    return sorted(values, key=lambda setting: inf if isnan(values[setting]) else -values[setting])
