"""Images of a list of files, decoded ahead by threads while earlier ones are segmented."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from segtrain.arrays import RgbArray
from segtrain.data.images.decode import decode, decode_pages
from segtrain.data.images.image_files import ImageError
from segtrain.data.images.image_reader import lost_levels, range_of_image
from segtrain.data.images.intensities.intensity import Intensity, Range, to_rgb
from segtrain.data.images.large_image import LargeImage
from segtrain.data.images.reading import Pages, Reading
from segtrain.data.images.samples import Samples
from segtrain.prediction.sources import Source
from segtrain.prediction.videos import frame_samples, is_video, read_frames

AllPages = Pages | Literal["each"]
Cuts = Callable[[tuple[int, int]], bool]
_TIFF = (".tif", ".tiff")
_AHEAD = 2  # images that each thread holds ready


@dataclass(frozen=True)
class Page:
    """Image of a file, or one of its pages or frames.

    Attributes:
        source: the file.
        number: number of the page or frame from 1; None for the only page.
        samples: samples as the file stores them, upright.
        rgb: the same as 8-bit RGB, as the segmenter gets it.
        lost: what is lost by the range of intensity, and the range of the samples; see `lost_levels`.
        rate: frames per second of the video that overlays of the frames make; None for what is no frame of a video.
        share: share of the file that is done with this image, in [0, 1]; 0 if that is not known.
        large: image that is read by windows, of which ``samples`` and ``rgb`` are an overview; None if they are whole.
    """

    source: Source
    number: int | None
    samples: Samples
    rgb: RgbArray
    lost: tuple[str, Range] | None
    rate: Fraction | None = None
    share: float = 0.0
    large: LargeImage | None = None

    @property
    def key(self) -> str:
        """Name of what is written for this image, without ending."""
        if self.number is None:
            return self.source.key
        if self.rate is None:
            return f"{self.source.key}.pages/{self.number:04d}"
        return f"{self.source.key}.frames/{self.number:06d}"

    @property
    def name(self) -> str:
        """File name in COCO files: a page or frame seems to lie in a folder named as its file."""
        if self.number is None:
            return self.source.name
        if self.rate is None:
            return f"{self.source.name}/{self.number:04d}{self.source.path.suffix}"
        return f"{self.source.name}/{self.number:06d}.png"

    @property
    def overlay(self) -> str:
        """Name of the file of its overlay, relative to the output folder: that of all frames for a video."""
        return f"overlays/{self.key}.png" if self.rate is None else f"overlays/{self.source.key}.mp4"


@dataclass(frozen=True)
class Unreadable:
    """File, or rest of a file, that cannot be read.

    Attributes:
        source: the file.
        error: what is wrong with it.
        in_windows: True if it could be read by windows, into which the segmenter does not cut it.
    """

    source: Source
    error: ImageError
    in_windows: bool = False


@dataclass(frozen=True)
class EndOfFile:
    """Mark after the last page of a file.

    Attributes:
        source: the file.
    """

    source: Source


Item = Page | Unreadable | EndOfFile


def read_ahead(
    sources: Sequence[Source],
    reading: Reading,
    pages: AllPages,
    intensity: Intensity,
    every: int,
    workers: int,
    cuts: Cuts = lambda size: False,
) -> Generator[Item, None, None]:
    """Yield the images of files in their order, decoded by threads; memory holds a few of them at a time.

    Args:
        sources: the files.
        reading: settings of reading; its ``pages`` is not used.
        pages: "each" to take every page of a file as an image; for others see `Reading`.
        intensity: ranges by which samples become 8-bit RGB.
        every: n of the n-th frames of videos that are images, beside the first one.
        workers: number of threads, at least 1.
        cuts: tells whether an image of this (H, W) is segmented in windows; it may then have more pixels than allowed,
            if its format can be read by windows.

    Yields:
        The pages of each file, or why it cannot be read; then the end of the file.
    """
    waiting: list[queue.Queue[Item | BaseException]] = [queue.Queue(_AHEAD) for _ in range(workers)]
    stopped = threading.Event()

    def work(number: int) -> None:
        try:
            for source in sources[number::workers]:
                for item in _read(source, reading, pages, intensity, every, cuts):
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


def _read(
    source: Source, reading: Reading, pages: AllPages, intensity: Intensity, every: int, cuts: Cuts
) -> Iterator[Item]:
    try:
        if is_video(source.path):
            yield from _frames(source, reading, intensity, every)
        elif pages == "each":
            yield from _pages(source, reading, intensity)
        else:
            samples = decode(source.path, None, replace(reading, pages=pages))
            yield _page(source, None, samples, intensity)
    except ImageError as error:
        if error.kind == "image-too-large" and source.path.suffix.lower() in _TIFF and pages in ("each", "first"):
            yield from _large(source, reading, pages, intensity, cuts, error)
        else:
            yield Unreadable(source, error)
    yield EndOfFile(source)


def _large(
    source: Source, reading: Reading, pages: AllPages, intensity: Intensity, cuts: Cuts, too_large: ImageError
) -> Iterator[Page | Unreadable]:
    """Yield the pages of a TIFF that is too large to be read whole."""
    frames, frame = 1, 0
    try:
        while frame < frames:
            image = LargeImage(source.path, frame, reading, intensity)
            if not cuts(image.size):
                yield Unreadable(source, too_large, in_windows=True)
                return
            frames = image.frames if pages == "each" else 1
            page = _page(source, None if frames == 1 else frame + 1, image.overview, intensity)
            yield replace(page, large=image)
            frame += 1
    except ImageError as error:
        yield Unreadable(source, error)


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


def _frames(source: Source, reading: Reading, intensity: Intensity, every: int) -> Iterator[Item]:
    for frame in read_frames(source.path, every, reading.max_pixels):
        page = _page(source, frame.number, frame_samples(source.path, frame, reading), intensity)
        share = min(1.0, frame.number / frame.total) if frame.total else 0.0
        yield replace(page, rate=frame.rate / every, share=share)


def _page(source: Source, number: int | None, samples: Samples, intensity: Intensity) -> Page:
    bounds = range_of_image(samples, intensity, source.path)
    return Page(source, number, samples, to_rgb(samples, bounds), lost_levels(samples, intensity, bounds))
