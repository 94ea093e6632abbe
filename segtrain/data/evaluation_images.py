"""Images of an evaluation, one at a time."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from segtrain.arrays import RgbArray
from segtrain.data.coco.record_tables import ImageInfo
from segtrain.data.images.image_reader import ImageReader, as_tensor
from segtrain.data.images.large_image import LargeImage, read_or_open

if TYPE_CHECKING:
    from torch import Tensor

_READERS = 8  # threads that read remote images, which wait for the network most of the time


def evaluation_images(infos: Sequence[ImageInfo], images: ImageReader) -> Iterator[tuple[int, "Tensor | LargeImage"]]:
    """Yield the id and the pixels, uint8 RGB (3, H, W), of some images, in their order; large images as such.

    Remote images are read ahead by several threads, since most of the time is spent waiting for the network.

    Args:
        infos: the images.
        images: reader of their files.

    Raises:
        SegtrainError: an image cannot be read; `segtrain.data.splits.drop_unreadable` leaves such images out.
    """
    found = _read_ahead(infos, images) if images.lazy else map(partial(read_or_open, images), infos)
    for info, image in zip(infos, found, strict=True):
        yield info.id, image if isinstance(image, LargeImage) else as_tensor(image)


def _read_ahead(infos: Sequence[ImageInfo], images: ImageReader) -> Iterator[RgbArray | LargeImage]:
    pool = ThreadPoolExecutor(_READERS)
    waiting: deque[Future[RgbArray | LargeImage]] = deque()
    try:
        for info in infos:
            waiting.append(pool.submit(read_or_open, images, info))
            if len(waiting) > _READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
