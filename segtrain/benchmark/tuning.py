"""Tuning of an evaluation: its budget and training images, and the winners, saved as ordinary segmenters."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import isnan
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from segtrain import distributed
from segtrain.benchmark.fingerprints import digest, of_code, of_data, of_node
from segtrain.benchmark.row_files import RowFiles
from segtrain.benchmark.search import Budget, Tuned, Winner, search
from segtrain.benchmark.search_space import build_segmenter
from segtrain.benchmark.setting_scorer import SettingScorer
from segtrain.benchmark.training_images import TrainingImages, files_of
from segtrain.console import counted, progress
from segtrain.data.open_data import open_data
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.nodes import as_yaml, quote_override, shell_line
from segtrain.segmenters import Segmenter
from segtrain.stopping import finishing_work, stop_if_asked, stop_requested
from segtrain.values import TunedMetric

logger = logging.getLogger(__name__)
Costs = dict[str, float | None]


class Tunable(Protocol):
    """Protocol of methods that may have to be tuned."""

    name: str
    is_tuned: ClassVar[bool]


class Search(NamedTuple):
    """Search for the settings of a method.

    Attributes:
        name: name of the method.
        space: candidates and the values to try.
        fingerprint: fingerprint of these.
    """

    name: str
    space: Tuned
    fingerprint: str


class Found(NamedTuple):
    """Outcome of a search.

    Attributes:
        segmenter: the segmenter with the best settings.
        fingerprint: fingerprint of these settings.
        costs: "tuning_seconds", "training_images" and "training_objects".
    """

    segmenter: Segmenter
    fingerprint: str
    costs: Costs


AnyMethod = TypeVar("AnyMethod", bound=Tunable)


class Tuning:
    """Budget and training images that the searches of an evaluation share.

    Args:
        folder: output folder of the evaluation; ``tuned/segmenter/NAME_winner.yaml`` in it are options of the group
            ``segmenter``, once ``tuned`` is in Hydra's search path.
        data: the ``data`` node, the checkpoint's values filled in.
        command: first words of the evaluation's command, such as ``("python", "evaluate.py")``, and those of its
            arguments that name the data; the winners' commands begin so.
        seed: seed of the draw of images and of the searches.
        metric: number that is maximised; see ``search.search``.
        images: number of training images; None for all.
        seconds: limit of each search; None for none.
        trials: limit of each search; None for none.
        kept: parts of rows on the disk, among them winners of earlier searches.

    Attributes:
        notes: notes for the reader of the report.
    """

    def __init__(
        self,
        folder: Path,
        data: Mapping[str, Any],
        command: Sequence[str],
        seed: int,
        *,
        metric: TunedMetric,
        images: int | None,
        seconds: float | None,
        trials: int | None,
        kept: RowFiles,
    ) -> None:
        self.notes: list[str] = []
        self._folder, self._data, self._command, self._seed = folder / "tuned", data, command, seed
        self._metric, self._count, self._limits = metric, images, (seconds, trials)
        self._kept, self._searched_on = kept, ""
        self._winners: dict[str, Winner] = {}
        self._budget: Budget | None = None
        self._images: TrainingImages | None = None
        self._processes = 1
        self._scorer: SettingScorer | None = None  # made with the first search, as are its processes
        self._sharing = ExitStack()

    def open(
        self, methods: Sequence[AnyMethod], split_seed: int, val_ids: Collection[int] | None, evaluated: Split
    ) -> list[AnyMethod]:
        """Open the training split and draw the images to search on, if any method is to be tuned.

        Args:
            methods: all methods of the evaluation.
            split_seed: seed that a ``val_fraction`` split is drawn with.
            val_ids: images of that split, if they are known already.
            evaluated: the split that is evaluated; training images that it holds too are not searched on.

        Returns:
            The methods that can run. Without training images the tuned methods are left out, with a note.

        Raises:
            SegtrainError: nothing would end a search.
        """
        tuned = [method.name for method in methods if method.is_tuned]
        if not tuned:
            return list(methods)
        self._budget = Budget(*self._limits)
        skip = self._data["on_bad_image"] == "skip"
        try:
            intensity = None if evaluated.images is None else evaluated.images.intensity
            split = open_data(self._data, ["train"], split_seed, val_ids, intensity=intensity)["train"]
            files = set(files_of(evaluated).values())
            self._images = TrainingImages(split, self._count, self._seed, skip=skip, evaluated=files)
            self._searched_on = digest(of_data(split, self._data), self._images.ids)
        except SegtrainError as error:
            self._note(f"{', '.join(tuned)} left out, with nothing to tune on: {error}")
            return [method for method in methods if not method.is_tuned]
        if shared := self._images.shared:
            self._note(f"{shared} training images are evaluated too; settings were searched on the others")
        return list(methods)

    @contextmanager
    def shared(self, processes: int) -> Iterator[None]:
        """Share the searches inside among forks of this process.

        Args:
            processes: number of forks.
        """
        self._processes = processes
        with self._sharing:
            yield

    def search(self, one: Search) -> Found:
        """Search the settings of a method, and save the best ones as a segmenter.

        Args:
            one: the search; it is not repeated if it was made before.

        Raises:
            SegtrainError: an image cannot be read.
            Stopped: a signal was received before any trial was completed.
        """
        name, space = one.name, one.space
        winner = self._winner(one)
        outcome = f"{self._metric} {winner.value:.4f}" if winner.completed else "no setting was scored in time"
        outcome += f", the best of {tried(winner)} in {winner.seconds:.0f} s" if winner.completed else ""
        outcome += ", of a search that a signal has interrupted" if self._is_cut_short(winner) else ""
        logger.info("%s: %s", name, outcome)
        if not winner.completed:
            self.notes.append(f"{name} is not tuned: {outcome}, and it stays as it is; raise tune.seconds")
        description = f"{space.description.rstrip('.')}: {_describe(winner, self._metric)}"
        # Only keys that the node has are changed.
        changes = {"description": description, "variant": "tuned"}
        node = {**winner.node, **{key: value for key, value in changes.items() if key in winner.node}}
        if distributed.is_first():
            self._save(name, node, outcome)
        costs: Costs = {"training_images": winner.images, "training_objects": winner.objects}
        found = of_node(node, seed=self._seed)
        return Found(build_segmenter(node), found, {"tuning_seconds": winner.seconds, **costs})

    def _winner(self, one: Search) -> Winner:
        """Search, or find the winner of the same search."""
        known = distributed.from_first(lambda: self._known(one))
        if known is None:
            begun = distributed.from_first(lambda: self._begun(one))
            with finishing_work(), progress(f"tuning {one.name}") as stage:
                known = self._search(
                    one, begun, lambda share, trials, best: stage.update(share, _progress(trials, best))
                )
            if distributed.is_first():
                self._keep(one, known)
        if not known.completed:
            stop_if_asked()
        return known

    def _search(self, one: Search, begun: Winner | None, show: Callable[[float, int, float], None]) -> Winner:
        """Search, or go on with a search that was interrupted."""
        assert self._images is not None
        assert self._budget is not None
        if self._scorer is None:
            self._scorer = SettingScorer(self._images, self._metric, self._data["max_dets"], self._seed)
            self._sharing.enter_context(self._scorer.shared(self._processes))
        return search(one.space, self._scorer, budget=self._budget, seed=self._seed, show=show, begun=begun)

    def _is_cut_short(self, winner: Winner) -> bool:
        """Return True if a signal has interrupted a search before its budget was used."""
        assert self._budget is not None
        return bool(stop_requested()) and self._budget.used(winner.trials, winner.seconds) < 1

    def _fingerprint(self, one: Search) -> str:
        settings = [self._metric, self._data["max_dets"], self._limits, self._seed]
        return digest(of_code(), one.fingerprint, self._searched_on, settings)

    def _known(self, one: Search) -> Winner | None:
        """Look up the winner of a search, in this evaluation or an earlier one."""
        if one.name in self._winners:
            return self._winners[one.name]
        known = self._kept.find("winner", self._fingerprint(one), Winner)
        if known is None:
            return None
        logger.info(
            f"{one.name}: its settings are those that were found in {known.origin.folder} on {known.origin.measured}"
        )
        self._winners[one.name] = known.content
        return known.content

    def _begun(self, one: Search) -> Winner | None:
        """Look up what a search has found before a signal has interrupted it."""
        begun = self._kept.find("search", self._fingerprint(one), Winner)
        if begun is None:
            return None
        content = begun.content
        logger.info(f"{one.name}: its search goes on after {tried(content)} in {content.seconds:.0f} s")
        return content

    def _keep(self, one: Search, winner: Winner) -> None:
        """Keep the winner of a search, or what it has found before a signal has interrupted it."""
        self._winners[one.name] = winner
        if winner.completed:
            part = "search" if self._is_cut_short(winner) else "winner"
            self._kept.keep(part, self._fingerprint(one), one.name, winner)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        logger.warning(text)

    def _save(self, name: str, node: Mapping[str, Any], outcome: str) -> None:
        option = f"{name}_winner"
        search_path = quote_override(f"file://{self._folder.absolute()}")
        row = ["methods=none", f"hydra.searchpath=[{search_path}]", f"+segmenter@segmenters.{name}={option}"]
        command = shell_line([*self._command, *row])
        head = f"# {command}\n# Found for {name}: {outcome}.\n"
        write_atomically(self._folder / "segmenter" / f"{option}.yaml", head + as_yaml(node))


def _describe(winner: Winner, metric: TunedMetric) -> str:
    """Describe the result of a search for the report."""
    if not winner.completed:
        return "as it stands, as no setting was scored in time."
    searched = tried(winner)
    if not winner.value > winner.standing:
        name = next(iter(winner.settings))
        return f"{name} as it stands, as nothing better was found among {searched} ({metric} {winner.value:.3f})."
    settings = ", ".join(f"{name} {_in_words(value)}".strip() for name, value in winner.settings.items())
    before = "" if isnan(winner.standing) else f", untuned at best {winner.standing:.3f}"
    return f"{settings}. The best of {searched}: {metric} {winner.value:.3f}{before}."


def tried(winner: Winner) -> str:
    """Say how many settings were tried, and on how many images.

    >>> from segtrain.benchmark.proposals import Setting
    >>> from segtrain.benchmark.search import Trials
    >>> settings = [Setting(0, (place,)) for place in range(300)]
    >>> trials = Trials(settings, on_some={}, on_all=dict.fromkeys(settings[:9], 0.5))
    >>> tried(Winner({}, {}, 0.5, 0.4, images=60, objects=900, seconds=20.0, tried=trials))
    '300 settings on up to 60 training images, 9 of them on all'
    """
    settings, images = counted(winner.trials, "setting"), counted(winner.images, "training image")
    if winner.completed == winner.trials:
        return f"{settings} on {images}"
    return f"{settings} on up to {images}, {winner.completed} of them on all"


def _progress(trials: int, best: float) -> str:
    """Say how far a search is."""
    settings = counted(trials, "setting")
    return settings if isnan(best) else f"{settings}, best {best:.3f}"


def _in_words(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"
