"""Images of a list of files, decoded ahead by threads while earlier ones are segmented."""

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from segtrain.arrays import RgbArray
from segtrain.data.images.decode import decode, decode_pages
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import lost_levels, range_of_image
from segtrain.data.images.intensities.intensity import Intensity, to_rgb
from segtrain.data.images.reading import Pages, Reading
from segtrain.data.images.samples import Samples
from segtrain.prediction.sources import Source

AllPages = Pages | Literal["each"]
_AHEAD = 2  # images that each thread holds ready


@dataclass(frozen=True)
class Page:
    """Image of a file, or one of its pages.

    Attributes:
        source: the file.
        number: number of the page from 1; None for the only one.
        samples: samples as the file stores them, upright.
        rgb: the same as 8-bit RGB, as the segmenter gets it.
        warning: what is lost by the range of intensity, with the remedy; None if nothing much is.
    """

    source: Source
    number: int | None
    samples: Samples
    rgb: RgbArray
    warning: str | None

    @property
    def key(self) -> str:
        """Name of what is written for this image, without ending."""
        return self.source.key if self.number is None else f"{self.source.key}.pages/{self.number:04d}"

    @property
    def name(self) -> str:
        """File name in COCO files: a page seems to lie in a folder named as its file."""
        if self.number is None:
            return self.source.name
        return f"{self.source.name}/{self.number:04d}{self.source.path.suffix}"


@dataclass(frozen=True)
class Unreadable:
    """File, or rest of a file, that cannot be read.

    Attributes:
        source: the file.
        reason: what is wrong with it.
    """

    source: Source
    reason: str


@dataclass(frozen=True)
class EndOfFile:
    """Mark after the last page of a file.

    Attributes:
        source: the file.
    """

    source: Source


Item = Page | Unreadable | EndOfFile


def read_ahead(
    sources: Sequence[Source], reading: Reading, pages: AllPages, intensity: Intensity, workers: int
) -> Generator[Item, None, None]:
    """Yield the images of files in their order, decoded by threads; memory holds a few of them at a time.

    Args:
        sources: the files.
        reading: settings of reading; its ``pages`` is not used.
        pages: "each" to take every page of a file as an image; for others see `Reading`.
        intensity: ranges by which samples become 8-bit RGB.
        workers: number of threads, at least 1.

    Yields:
        The pages of each file, or why it cannot be read; then the end of the file.
    """
    waiting: list[queue.Queue[Item | BaseException]] = [queue.Queue(_AHEAD) for _ in range(workers)]
    stopped = threading.Event()

    def work(number: int) -> None:
        try:
            for source in sources[number::workers]:
                for item in _read(source, reading, pages, intensity):
                    if not _put(waiting[number], item, stopped):
                        return
        except BaseException as error:  # of the program, such as MemoryError: raised where the images are used
            _put(waiting[number], error, stopped)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for place in range(len(sources)):
            item: Item | BaseException | None = None
            while not isinstance(item, EndOfFile):
                item = waiting[place % workers].get()
                if isinstance(item, BaseException):
                    raise item
                yield item
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _put(waiting: "queue.Queue[Item | BaseException]", item: Item | BaseException, stopped: threading.Event) -> bool:
    """Hand an item over as soon as there is room; return False if no one takes items any more."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _read(source: Source, reading: Reading, pages: AllPages, intensity: Intensity) -> Iterator[Item]:
    try:
        if pages == "each":
            yield from _pages(source, reading, intensity)
        else:
            samples = decode(source.path, None, replace(reading, pages=pages))
            yield _page(source, None, samples, intensity)
    except ImageError as error:
        yield Unreadable(source, error.reason)
    yield EndOfFile(source)


def _pages(source: Source, reading: Reading, intensity: Intensity) -> Iterator[Item]:
    """Yield the pages of a file; a single one has no number, so one is read ahead."""
    first: Samples | None = None
    count = 0
    for count, samples in enumerate(decode_pages(source.path, reading), start=1):
        if count == 1:
            first = samples
            continue
        if first is not None:
            yield _page(source, 1, first, intensity)
            first = None
        yield _page(source, count, samples, intensity)
    if first is not None:
        yield _page(source, None, first, intensity)


def _page(source: Source, number: int | None, samples: Samples, intensity: Intensity) -> Page:
    bounds = range_of_image(samples, intensity, source.path)
    warning = None
    if (lost := lost_levels(samples, intensity, bounds)) is not None:
        said, ends = lost
        warning = f"{said}; give --intensity {ends.low:g},{ends.high:g}"
    return Page(source, number, samples, to_rgb(samples, bounds), warning)
