"""Cache of decoded images in shared memory (``data.cache=ram``)."""

import logging
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil

from segtrain.arrays import RgbArray
from segtrain.console import progress
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.coco.shared_array import SharedArray
from segtrain.errors import SegtrainError
from segtrain.runtime import thread_count

logger = logging.getLogger(__name__)
# Share of the available memory. The rest is for the network, its gradients, and batches in the loader.
_LARGEST_SHARE = 0.8


class PixelCache:
    """Decoded images of a data set, in one buffer.

    The constructor reads all images, in several threads (Pillow releases Python's lock while it decodes).

    Args:
        images: images to hold; their ids are unique.
        read: reads an image as (H, W, 3) uint8 of the stated size.
        keep_errors: True if an unreadable image raises when it is requested, False if it raises at once.

    Raises:
        SegtrainError: the images need more memory than is available, or one cannot be read and errors are not kept.
    """

    def __init__(
        self, images: Sequence[ImageInfo], read: Callable[[ImageInfo], RgbArray], *, keep_errors: bool
    ) -> None:
        started = time.perf_counter()
        images = sorted(images, key=lambda info: info.id)
        # Arrays instead of a dictionary, whose pages worker processes would copy when they count references.
        self._ids = np.array([info.id for info in images], dtype=np.int64)
        self._starts = np.cumsum([0, *(3 * info.height * info.width for info in images)], dtype=np.int64)
        _require_memory(int(self._starts[-1]), len(images))
        self._pixels = SharedArray(np.empty(self._starts[-1], dtype=np.uint8))
        if multiprocessing.get_start_method() != "fork":
            self._pixels.share()  # while it is still empty
        self._errors: dict[int, str] = {}

        def hold(info: ImageInfo) -> None:
            try:
                self._place(info)[...] = read(info)
            except SegtrainError as error:
                if not keep_errors:
                    raise
                self._errors[info.id] = str(error)

        with (
            ThreadPoolExecutor(thread_count("auto", busy_workers=0)) as threads,
            progress("reading images", len(images), transient=True) as stage,
        ):
            for _ in threads.map(hold, images):
                stage.advance()
        took = time.perf_counter() - started
        logger.info(f"data.cache=ram: {len(images)} images, {_gib(self._starts[-1])}, decoded in {took:.0f} s")

    def read(self, info: ImageInfo) -> RgbArray:
        """Return a copy of an image, (H, W, 3) uint8.

        Raises:
            SegtrainError: the image could not be read.
        """
        if info.id in self._errors:
            raise SegtrainError(self._errors[info.id])
        return self._place(info).copy()

    def _place(self, info: ImageInfo) -> RgbArray:
        first = self._starts[np.searchsorted(self._ids, info.id)]
        place: RgbArray = self._pixels.array[first : first + 3 * info.height * info.width]
        return place.reshape(info.height, info.width, 3)


def _require_memory(needed: int, images: int) -> None:
    available = psutil.virtual_memory().available
    if needed > _LARGEST_SHARE * available:
        raise SegtrainError(
            f"data.cache=ram needs {_gib(needed)} for {images} decoded images, but may take {_LARGEST_SHARE:.0%} of "
            f"the {_gib(available)} of memory that are free; use data.cache=none"
        )


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
