"""Run of the methods of an evaluation: searches, detections, and rows that are whole already."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from segtrain import distributed
from segtrain.benchmark.fingerprints import digest
from segtrain.benchmark.methods import Method, Part, ResultFile
from segtrain.benchmark.row_files import KeptDetections, Origin, RowFiles
from segtrain.benchmark.runner import Benchmark, EvaluationFolder
from segtrain.benchmark.tuning import Tuning
from segtrain.console import progress
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.evaluation import joined
from segtrain.memory import free_memory
from segtrain.pool import Advance as AdvanceShare
from segtrain.pool import can_fork, in_processes
from segtrain.runtime import quick_collections
from segtrain.stopping import stop_if_asked

logger = logging.getLogger(__name__)
TIMED = 21  # images that are segmented alone for the time per image; the first, which warms caches up, is left out
_CHUNKS = 8  # parts of the images for each process, so that none waits long for the others


class FoundRows:
    """Rows that are restored, since they ran before with the same segmenter, data, settings and code.

    Args:
        kept: parts of rows on the disk.
        common: fingerprint of what all rows depend on: data, precision, device and code.

    Attributes:
        origins: evaluation that each restored row comes from, by name.
        segmented: names of the rows whose detections are kept.
        analysed: names of the rows whose analysis is kept.
    """

    def __init__(self, kept: RowFiles, common: str) -> None:
        self.kept, self._common = kept, common
        self.origins: dict[str, Origin] = {}
        self.segmented: set[str] = set()
        self.analysed: set[str] = set()

    def fingerprint(self, method: Method) -> str:
        """Fingerprint all that the detections of a method depend on."""
        threshold, own = method.score_threshold, dict(method.thresholds.by_category)
        return digest(self._common, type(method).__name__, method.fingerprint, threshold, own)

    def restore(self, method: Method, benchmark: Benchmark) -> bool:
        """Give a method the detections of an earlier run, if there are any, and return True in all processes if so.

        Args:
            method: method that has not run; result files are always read.
            benchmark: receives the grey values of the images.
        """
        if isinstance(method, ResultFile):
            return False
        return distributed.from_first(lambda: self._restored(method, benchmark))

    def _restored(self, method: Method, benchmark: Benchmark) -> bool:
        found = self.kept.find("detections", self.fingerprint(method), KeptDetections)
        if found is None:
            return False
        method.detections = found.content.detections()
        method.costs |= found.content.costs
        benchmark.greys.update(found.content.greys)
        self.note(method.name, found.origin)
        self.segmented.add(method.name)
        return True

    def keep(self, method: Method, benchmark: Benchmark) -> None:
        """Keep the detections of a method that has run, in the first process."""
        if method.detections is not None and not isinstance(method, ResultFile):
            content = KeptDetections.of(method.detections, method.costs, benchmark.greys)
            self.kept.keep("detections", self.fingerprint(method), method.name, content)
        self.segmented.add(method.name)

    def note(self, name: str, origin: Origin) -> None:
        """Note and log that a row comes from an earlier evaluation."""
        self.origins[name] = origin
        logger.info(f"{name}: taken from {self._described(origin)}")

    def notes(self) -> list[str]:
        """Return notes for the report on the rows that come from earlier evaluations."""
        places: dict[Origin, list[str]] = {}
        for name, origin in self.origins.items():
            places.setdefault(origin, []).append(name)
        return [f"Taken from {self._described(origin)}: {', '.join(names)}" for origin, names in places.items()]

    def _described(self, origin: Origin) -> str:
        text = f"{origin.folder}, with the times that were measured there on {origin.measured}"
        here = self.kept.machine
        return text if origin.machine == here else f"{text} (not to be compared with times of this run, on {here})"


def run_methods(
    methods: Sequence[Method],
    benchmark: Benchmark,
    tuning: Tuning,
    folder: EvaluationFolder,
    rows: FoundRows,
    processes: int = 1,
) -> None:
    """Tune and run all methods; of several processes that were started, all segment and the first one collects.

    Args:
        methods: methods as built.
        benchmark: the images and their ground truth; receives the methods that have run.
        tuning: budget and training images of the searches.
        folder: receives the detections.
        rows: rows of earlier runs, which are restored; receives the other rows when they are complete.
        processes: forks of this process that share the images of methods without a network.

    Raises:
        SegtrainError: an image cannot be read.
    """
    with tuning.shared(processes):
        for method in methods:
            method.tune(tuning)
    stop_if_asked()
    for method in methods:
        method.join(methods)

    def written(method: Method) -> None:
        if method.detections is not None:
            folder.write_records(method.name, method.detections, benchmark.ground_truth.categories)

    def whole(method: Method) -> None:
        rows.keep(method, benchmark)
        written(method)

    # An oracle tries what the others have found.
    ordered = sorted(methods, key=lambda method: method.is_oracle)
    images = benchmark.split.index.images
    shares = processes > 1 and distributed.size() == 1 and can_fork()
    with progress("methods") as stage, quick_collections():
        step = 1 / (len(methods) * max(len(images), 1))
        for is_oracle in (False, True):
            group = [method for method in ordered if method.is_oracle == is_oracle]
            shared = []
            for method in group:
                stage.update(state=method.name)
                if rows.restore(method, benchmark):
                    stage.advance(step * len(images))
                    written(method)
                elif shares and method.can_be_shared:
                    shared.append(method)
                else:
                    method.detect(benchmark, lambda: stage.advance(step * distributed.size()))
                    whole(method)
            _detect_shared(shared, benchmark, processes, lambda count: stage.advance(step * count), whole)
        stage.update(1.0)
    for method in methods:
        if method.detections is not None:
            benchmark.rows[method.name] = method.result(benchmark.split)
    truth = benchmark.ground_truth
    if len(truth.categories) > 1 and not all(row.detections.class_aware for row in benchmark.rows.values()):
        folder.write_class_agnostic_truth(benchmark.split.index, truth)
    benchmark.share_greys()


def _detect_shared(
    methods: Sequence[Method],
    benchmark: Benchmark,
    processes: int,
    advance: Callable[[float], None],
    whole: Callable[[Method], None],
) -> None:
    """Run methods over forks of this process, after each was timed alone on some images.

    Args:
        methods: methods without a network.
        benchmark: the images and their ground truth.
        processes: number of forks.
        advance: called with the number of images that were segmented.
        whole: called with each method that has all its detections.
    """
    images = list(benchmark.split.index.images)
    timed = [] if any(method.is_oracle for method in methods) else timed_images(images)
    parts: dict[str, list[Part]] = defaultdict(list)
    for method in methods if timed else ():
        parts[method.name].append(method.detect_part(timed, benchmark, lambda: advance(1)))
    processes = _fitting(processes, [part.gib for own in parts.values() for part in own])
    alone = {info.id for info in timed}
    left = [info for info in images if info.id not in alone]
    chunks = [part.tolist() for part in np.array_split(np.arange(len(left)), _CHUNKS * processes) if len(part)]
    tasks = [(method, [left[place] for place in chunk]) for method in methods for chunk in chunks]

    def work(task: tuple[Method, list[ImageInfo]], advance_share: AdvanceShare) -> Part:
        method, infos = task
        return method.detect_part(infos, benchmark, lambda: advance_share(1 / len(infos)))

    def progressed(number: int, share: float) -> None:
        advance(share * len(tasks[number][1]))

    waiting = {method.name: len(chunks) for method in methods}
    for method in methods if not chunks else ():
        _finish(method, parts[method.name], benchmark, timed)
        whole(method)
    for number, part in in_processes(work, tasks, processes, progressed):
        method = tasks[number][0]
        benchmark.greys.update(part.greys)
        parts[method.name].append(part)
        waiting[method.name] -= 1
        if not waiting[method.name]:
            _finish(method, parts.pop(method.name), benchmark, timed)
            whole(method)


def _fitting(processes: int, gib: Sequence[float | None]) -> int:
    """Return the number of processes that the free memory holds, at least one.

    Args:
        processes: number of processes at most.
        gib: peak memory of each method on some images, the largest one among them; None where it is not known.
    """
    taken = max((own for own in gib if own is not None), default=0.0)
    if processes * taken * 2**30 <= (free := free_memory()):
        return processes
    fitting = max(1, int(free / 2**30 / taken))
    if fitting < processes:
        logger.info(f"{fitting} in place of {processes} processes share the images, as one takes {taken:.1f} GiB")
    return fitting


def timed_images(images: Sequence[ImageInfo]) -> list[ImageInfo]:
    """Choose the images that stand for all in the time per image, evenly spread over their sizes.

    Args:
        images: all images.

    Returns:
        Up to `TIMED` of them, in their order.
    """
    by_size = np.argsort([info.height * info.width for info in images], kind="stable")
    places = np.linspace(0, len(images) - 1, min(TIMED, len(images))).round().astype(np.int64)
    return [images[place] for place in np.sort(by_size[places])]


def timing_notes(methods: Sequence[Method], images: int) -> list[str]:
    """Say for the reader of the report which images the time per image is of, where it is not of all.

    Args:
        methods: methods that have run.
        images: number of evaluated images.
    """
    groups: dict[int, list[str]] = defaultdict(list)
    for method in methods:
        if method.detections is not None and method.detections.timed:
            groups[len(method.detections.timed)].append(method.name)
    return [
        f"The time per image is that of {count} of the {images:,} images, evenly spread over their sizes, which were "
        f"segmented alone before several processes shared the others: {', '.join(names)}"
        for count, names in groups.items()
    ]


def _finish(method: Method, parts: Sequence[Part], benchmark: Benchmark, timed: Sequence[ImageInfo]) -> None:
    found = joined([part.detections for part in parts], [info.id for info in benchmark.split.index.images])
    count = len(benchmark.split.index.images)
    if timed and len(timed) < count:
        found = replace(found, timed=[info.id for info in timed])
    method.finish(found, [part.gib for part in parts], sum(part.seconds for part in parts))
