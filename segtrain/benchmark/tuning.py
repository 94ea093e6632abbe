"""Tuned methods: settings searched on the training split, saved as ordinary segmenters."""

import logging
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from segtrain.benchmark.search import Budget, Metric, TrainingImages, Tuned, Winner, files_of, search
from segtrain.benchmark.search_space import build_segmenter
from segtrain.data.open_data import open_data
from segtrain.data.splits import Split
from segtrain.errors import SegtrainError
from segtrain.io import write_atomically
from segtrain.nodes import as_yaml, quote_override
from segtrain.segmenters import Segmenter

logger = logging.getLogger(__name__)


class Tuning:
    """The searches of an evaluation.

    Args:
        rows: to be searched, by name.
        data: the ``data`` node, the checkpoint's values filled in.
        seed: of the draw of images and of the searches.
        metric: see ``search.search``.
        images: how many training images the searches use; None for all.
        seconds: for each row; None for ``data.tune_seconds``, or for no limit where there is one of trials.
        trials: for each row; None for no limit.

    Attributes:
        rows: those that can be searched.
        notes: what the report says about the others.
        costs: of each row that was searched: "tuning_seconds", and of the images "training_images" and
            "training_objects".

    Raises:
        SegtrainError: nothing would end a search.
    """

    def __init__(
        self,
        rows: Mapping[str, Tuned],
        data: Mapping[str, Any],
        seed: int,
        *,
        metric: Metric,
        images: int | None,
        seconds: float | None,
        trials: int | None,
    ) -> None:
        self.rows = dict(rows)
        self.notes: list[str] = []
        self.costs: dict[str, dict[str, float | None]] = {}
        self._data, self._seed, self._metric, self._count = data, seed, metric, images
        self._images: TrainingImages | None = None
        if rows:
            self._budget = Budget(data["tune_seconds"] if seconds is None and trials is None else seconds, trials)

    def open(self, split_seed: int, val_ids: Collection[int] | None, evaluated: Split) -> None:
        """Open the training split and draw the images to search on; where that fails, all rows are left out.

        Args:
            split_seed: that a ``val_fraction`` split is drawn with.
            val_ids: the images of that split, if they are known already.
            evaluated: the split that is evaluated; training images that it holds too are not searched on.
        """
        if not self.rows:
            return
        skip = self._data["on_bad_image"] == "skip"
        try:
            split = open_data(self._data, ["train"], split_seed, val_ids)["train"]
            files = set(files_of(evaluated).values())
            self._images = TrainingImages(split, self._count, self._seed, skip=skip, evaluated=files)
        except SegtrainError as error:
            self.notes.append(f"{', '.join(self.rows)} left out, with nothing to tune on: {error}")
            logger.warning(self.notes[-1])
            self.rows = {}
            return
        if shared := self._images.shared:
            self.notes.append(f"{shared} training images are evaluated too; settings were searched on the others")
            logger.warning(self.notes[-1])

    def run(self, folder: Path, data_arguments: Sequence[str]) -> dict[str, Segmenter]:
        """Search the settings of every row, and write the best ones down.

        Args:
            data_arguments: what names the data on evaluate.py's command line.
            folder: gets ``tuned/segmenter/NAME_winner.yaml``: options of the group ``segmenter``, once ``folder/tuned``
                is in Hydra's search path.

        Raises:
            SegtrainError: an image cannot be read.
        """
        found: dict[str, Segmenter] = {}
        for name, row in self.rows.items():
            assert self._images is not None
            images = len(self._images.ids)
            with _progress(name, self._budget) as show:
                winner = search(
                    row,
                    self._images,
                    metric=self._metric,
                    max_dets=self._data["max_dets"],
                    budget=self._budget,
                    seed=self._seed,
                    show=show,
                )
            result = (
                f"{self._metric} {winner.value:.4f}" if winner.completed else "no trial ended in time, as it stands"
            )
            result += f", on {images} training images; {winner.trials} trials, {winner.seconds:.0f} s"
            logger.info("%s: %s", name, result)
            if not winner.completed:
                self.notes.append(f"{name} is not tuned: {result}; give it more with tune.seconds=")
            description = f"{row.description.rstrip('.')}: {_words(winner, self._metric, images)}"
            found[name] = self._write(name, winner, result, folder / "tuned", description, data_arguments)
            used = {"training_images": images, "training_objects": self._images.objects}
            self.costs[name] = {"tuning_seconds": winner.seconds, **used}
        return found

    def _write(
        self, name: str, winner: Winner, result: str, folder: Path, description: str, data_arguments: Sequence[str]
    ) -> Segmenter:
        # Only what the node has already is changed.
        words = {"description": description, "variant": "tuned"}
        node = {**winner.node, **{key: value for key, value in words.items() if key in winner.node}}
        option = f"{name}_winner"
        place = quote_override(f"file://{folder.absolute()}")
        row = ["methods=none", f"hydra.searchpath=[{place}]", f"+segmenter@segmenters.{name}={option}"]
        command = shlex.join(["python", "evaluate.py", *row, *data_arguments])
        head = f"# {command}\n# Found for {name}: {result}.\n"
        write_atomically(folder / "segmenter" / f"{option}.yaml", head + as_yaml(node))
        return build_segmenter(node)


def _words(winner: Winner, metric: Metric, images: int) -> str:
    """What the search found, for the report."""
    if not winner.completed:
        return "as it stands, as no trial ended in time."
    searched = f"{winner.trials} trials on {images} training images"
    if not winner.value > winner.standing:
        name = next(iter(winner.settings))
        return f"{name} as it stands, as nothing better was found in {searched} ({metric} {winner.value:.3f})."
    settings = ", ".join(f"{name} {_said(value)}".strip() for name, value in winner.settings.items())
    before = "" if isnan(winner.standing) else f", untuned at best {winner.standing:.3f}"
    return f"{settings}. The best of {searched}: {metric} {winner.value:.3f}{before}."


def _said(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value}"


@contextmanager
def _progress(name: str, budget: Budget) -> Iterator[Callable[[int, float, float], None]]:
    """A bar to the nearest limit of a search, with the best value so far."""
    columns = (TextColumn(f"tuning {name:<16}"), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TextColumn("{task.fields[state]}"), TimeElapsedColumn()) as progress:
        task = progress.add_task("", total=1.0, state="")

        def show(trials: int, best: float, seconds: float) -> None:
            done = max(trials / (budget.trials or float("inf")), seconds / (budget.seconds or float("inf")))
            progress.update(task, completed=min(done, 1.0), state=f"{trials} trials, best {best:.3f}")

        yield show
        progress.update(task, completed=1.0)
