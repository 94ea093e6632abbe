"""Scoring of settings on training images, by several processes together."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from segtrain import distributed
from segtrain.benchmark.search_space import Node, build_segmenter
from segtrain.benchmark.setting_scores import score_of
from segtrain.benchmark.training_images import TrainingImages, View
from segtrain.pool import Advance, Share, lasting_processes
from segtrain.records import OBJECT, to_predictions
from segtrain.runtime import seed_draws
from segtrain.segmenters import Segmenter
from segtrain.segmenters.classical.shared_steps import sharing_steps
from segtrain.stopping import stop_requested
from segtrain.values import TunedMetric

FEW = 4  # parts of images on which settings are first scored
SOME = 30  # images on which those that do well there are scored, and from which the parts are taken
_SHARED = 2**22  # pixels of a view, up to which its settings share intermediate steps
_BUILT = 128  # segmenters that are kept
_TASKS = 2  # tasks of each process at least, so that none waits long for the others


class SettingScorer:
    """Scores of settings on training images.

    Segmenters may draw: the generators are seeded with the seed and the image, so that scores do not depend on the
    processes that share the work.

    Args:
        images: training images.
        metric: class-agnostic metric; mIoU uses every detection.
        max_dets: detections per image that average precision uses.
        seed: seed of random draws that segmenters make.

    Attributes:
        images: training images.
        views: the images, in the order in which they are used.
        parts: parts of the first images.
    """

    def __init__(self, images: TrainingImages, metric: TunedMetric, max_dets: int, seed: int) -> None:
        self.images, self._seed = images, seed
        self._score = score_of(metric, max_dets)
        self.views: Sequence[View] = images.views
        self.parts: Sequence[View] = [view.part() for view in images.views[:SOME]]
        self._processes = 1
        self._built: dict[str, Segmenter] = {}
        self._share: Share[_Task, Any] | None = None

    @contextmanager
    def shared(self, processes: int) -> Iterator[None]:
        """Share the work inside among forks of this process.

        Args:
            processes: number of forks; of processes that were started together, each works alone.
        """
        if processes < 2 or distributed.size() > 1:
            yield
            return
        self.images.load()
        with lasting_processes(self._work, processes) as share:
            self._processes, self._share = processes, share
            try:
                yield
            finally:
                self._processes, self._share = 1, None

    def segment(self, nodes: Sequence[Node], views: Sequence[View], deadline: float) -> list[list[Any]] | None:
        """Segment views by several segmenters; in the first process only, while the others are in `help_first`.

        Args:
            nodes: configurations of segmenters, neighbours with most steps in common.
            views: the views.
            deadline: time by ``time.perf_counter`` after which the work ends.

        Returns:
            For each segmenter what its score needs of each view; None if the time was up.
        """
        tasks = self._tasks(nodes, views, deadline - time.perf_counter())
        if distributed.size() > 1:
            distributed.from_first(lambda: tasks)
            results = self._together(tasks)
        else:
            share = self._share or partial(_in_turn, self._work)
            results = dict(share(tasks))
        if results is None or any(result is None for result in results.values()):
            return None
        chunks = len(tasks) // len(views)
        columns = [list(chain(*(results[view * chunks + c] for c in range(chunks)))) for view in range(len(views))]
        return [list(of_node) for of_node in zip(*columns, strict=True)]

    def help_first(self) -> None:
        """Work on this process's share of the tasks, until the first process has made the last ones."""
        while (tasks := distributed.from_first(_no_tasks)) is not None:
            self._together(tasks)

    def end(self) -> None:
        """End `help_first` in the other processes."""
        distributed.from_first(_no_tasks)

    def value(self, views: Sequence[View], parts: Sequence[Any]) -> float:
        """Compute the metric of a segmenter on several views together; nan without a true object.

        Args:
            views: the views.
            parts: what `segment` has returned for each of them.
        """
        order = np.argsort([view.truth.image_id for view in views], kind="stable")
        return self._score.of_images([parts[place] for place in order])

    def _tasks(self, nodes: Sequence[Node], views: Sequence[View], seconds: float) -> "list[_Task]":
        """Divide work by views, and by segmenters too where there are few views for the processes."""
        chunks = min(len(nodes), ceil(_TASKS * max(self._processes, distributed.size()) / len(views)))
        parts = [part.tolist() for part in np.array_split(np.arange(len(nodes)), chunks)]
        return [_Task([nodes[place] for place in part], view, seconds) for view in views for part in parts]

    def _together(self, tasks: "Sequence[_Task]") -> dict[int, Any] | None:
        """Work on tasks in all processes together; their results in the first one, None in the others."""
        own = {number: self._work(tasks[number]) for number in distributed.share(range(len(tasks)))}
        collected = distributed.collect(own)
        return (
            None if collected is None else {number: part for results in collected for number, part in results.items()}
        )

    def _work(self, task: "_Task", advance: Advance | None = None) -> list[Any] | None:
        """Segment a view by some segmenters; None if the time was up."""
        view, results = task.view, []
        end = time.perf_counter() + task.seconds
        image_id = view.truth.image_id
        seed = int(np.random.SeedSequence([self._seed, image_id % 2**64]).generate_state(1)[0])
        pixels = self.images.pixels(view)
        height, width = view.truth.size
        with sharing_steps() if height * width <= _SHARED else nullcontext():
            for node in task.nodes:
                if stop_requested() or time.perf_counter() >= end:
                    return None
                seed_draws(seed)
                found = to_predictions(self._segmenter(node).segment([pixels])[0], image_id, [OBJECT])
                results.append(self._score.of_image(view.truth, found))
        return results

    def _segmenter(self, node: Node) -> Segmenter:
        """Build a segmenter, or find it among those that were built last: that takes as long as a small image."""
        key = repr(node)
        segmenter = self._built.pop(key, None) or build_segmenter(node)
        self._built[key] = segmenter
        if len(self._built) > _BUILT:
            del self._built[next(iter(self._built))]
        return segmenter


class _Task(NamedTuple):
    """Work that one process does without a pause.

    Attributes:
        nodes: configurations of segmenters.
        view: image, or part of one.
        seconds: seconds until the deadline; infinite without one.
    """

    nodes: Sequence[Node]
    view: View
    seconds: float


def _in_turn(work: Any, tasks: Sequence[_Task]) -> Iterator[tuple[int, Any]]:
    return ((number, work(task)) for number, task in enumerate(tasks))


def _no_tasks() -> list[_Task] | None:
    return None
