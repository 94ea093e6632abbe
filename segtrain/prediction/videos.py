"""Frames of videos, read through PyAV where it is installed, else through OpenCV."""

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segtrain.arrays import RgbArray
from segtrain.data.images.image_files import REPLACE, ImageError
from segtrain.data.images.reading import Reading
from segtrain.data.images.samples import Samples

# Endings of videos, in lower case.
VIDEO_EXTENSIONS = frozenset(
    [".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv"]
)
_UNREADABLE = "OpenCV cannot read the video; PyAV reads more kinds: pip install 'segtrain[video]'"
_RATE = Fraction(25)  # frames per second of a video that states none
_INEXACT = 0.02  # of the number of frames, which some containers estimate by their length


class Frame(NamedTuple):
    """Frame of a video.

    Attributes:
        number: its number, from 1.
        rgb: (H, W, 3) uint8, upright.
        rate: frames per second of the video.
        total: number of frames that the video states; 0 if it states none.
    """

    number: int
    rgb: RgbArray
    rate: Fraction
    total: int


def is_video(path: Path) -> bool:
    """Return True for the name of a video.

    >>> is_video(Path("a.MP4")), is_video(Path("a.gif"))
    (True, False)
    """
    return path.suffix.lower() in VIDEO_EXTENSIONS


def has_pyav() -> bool:
    """Return True if PyAV is installed, and its libraries load."""
    try:
        import av  # noqa: F401 - whether it loads
    except ImportError:
        return False
    return True


def read_frames(path: Path, every: int, max_pixels: int) -> Iterator[Frame]:
    """Read every n-th frame of a video, from the first one on.

    Args:
        path: path of the video.
        every: n, at least 1.
        max_pixels: largest number of pixels of a frame.

    Raises:
        ImageError: the file cannot be read, breaks off, holds no frames, or they are too large.
    """
    number = 0
    for frame in (_pyav_frames if has_pyav() else _opencv_frames)(path, every):
        number = frame.number
        height, width = frame.rgb.shape[:2]
        if height * width > max_pixels:
            reason = f"its frames have {height * width:,} pixels, more than {max_pixels:,}"
            raise ImageError("image-too-large", path, reason, "raise --max-pixels if you trust it")
        yield frame
    if not number:
        raise ImageError("image-unreadable", path, "the video holds no frames", REPLACE)


def frame_samples(path: Path, frame: Frame, reading: Reading) -> Samples:
    """Return the samples of a frame, of the chosen channels.

    Args:
        path: path of the video.
        frame: the frame.
        reading: settings of reading, of which ``channels`` is used.

    Raises:
        ImageError: there is no such channel.
    """
    if reading.channels is None:
        return Samples(frame.rgb, (0, 255))
    if max(reading.channels) > 2:
        reason = f"frames of videos have the channels 0, 1 and 2, and {max(reading.channels)} is asked for"
        raise ImageError("image-channels", path, reason, "give --channels 0,1,2")
    chosen = frame.rgb[..., list(reading.channels)]
    return Samples(np.ascontiguousarray(chosen[..., 0] if len(reading.channels) == 1 else chosen), (0, 255))


def _pyav_frames(path: Path, every: int) -> Iterator[Frame]:
    import av  # here, as an extra that is loaded for videos alone

    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise ImageError("image-unreadable", path, "the file holds no video", REPLACE)
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = stream.average_rate or _RATE
            for number, frame in islice(enumerate(container.decode(stream), start=1), 0, None, every):
                turns = round(frame.rotation / 90)
                rgb: RgbArray = frame.to_ndarray(format="rgb24")
                yield Frame(number, np.ascontiguousarray(np.rot90(rgb, turns)), rate, stream.frames)
    except av.FFmpegError as error:
        what = error.strerror or type(error).__name__
        raise ImageError("image-unreadable", path, f"cannot read the video ({what})", REPLACE) from None


def _opencv_frames(path: Path, every: int) -> Iterator[Frame]:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # errors are those below
    import cv2

    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ImageError("image-unreadable", path, _UNREADABLE, REPLACE)
        rate = Fraction(capture.get(cv2.CAP_PROP_FPS)).limit_denominator(1001) or _RATE
        total, number = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), 0
        while capture.grab():
            number += 1
            if (number - 1) % every == 0:
                whole, pixels = capture.retrieve()
                if not whole:
                    break
                yield Frame(number, np.ascontiguousarray(pixels[..., ::-1]), rate, total)
        if number < total - max(1, _INEXACT * total):
            reason = f"the video breaks off after {number:,} of {total:,} frames"
            raise ImageError("image-truncated", path, reason, REPLACE)
    finally:
        capture.release()
