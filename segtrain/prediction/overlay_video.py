"""Video of overlays, written through PyAV where it is installed, else through OpenCV."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from segtrain.errors import SegtrainError
from segtrain.prediction.videos import has_pyav
from segtrain.visualize import Pixels

_CODECS = ("libx264", "mpeg4")  # of PyAV, the first one that its build has
_QUALITY = {"libx264": {"crf": "18", "preset": "fast"}, "mpeg4": {"qmin": "2", "qmax": "4"}}
_LARGEST = 65535  # of the denominator of a rate, which MPEG-4 keeps in 16 bits


class _Encoder(Protocol):
    def write(self, pixels: Pixels) -> None:
        """Append a frame (H, W, 3)."""

    def close(self) -> None:
        """Complete the file."""


class OverlayVideo:
    """MP4 file of frames of one size.

    Args:
        path: path of the file; one that is there is replaced.
        rate: frames per second.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path, self._rate = path, rate.limit_denominator(_LARGEST)
        self._encoder: _Encoder | None = None
        self._size = (0, 0)

    def write(self, pixels: Pixels) -> None:
        """Append a frame.

        Args:
            pixels: (H, W, 3); frames of another size than the first one are scaled to it.

        Raises:
            SegtrainError: no encoder can be opened.
        """
        if self._encoder is None:
            # Colours of two by two pixels are stored as one.
            self._size = pixels.shape[1] + pixels.shape[1] % 2, pixels.shape[0] + pixels.shape[0] % 2
            encoder: Callable[[Path, Fraction, tuple[int, int]], _Encoder]
            encoder = _PyavEncoder if has_pyav() else _OpencvEncoder
            self._encoder = encoder(self.path, self._rate, self._size)
        width, height = self._size
        if not (0 <= width - pixels.shape[1] <= 1 and 0 <= height - pixels.shape[0] <= 1):
            pixels = np.asarray(Image.fromarray(pixels).resize(self._size, Image.Resampling.BILINEAR))
        margins = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
        self._encoder.write(np.pad(pixels, margins, mode="edge"))

    def close(self) -> None:
        """Complete the file."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


class _PyavEncoder:
    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int]) -> None:
        import av  # here, as an extra that is loaded for videos alone

        self._frame_of = av.VideoFrame.from_ndarray
        codec = next((name for name in _CODECS if _can_encode(name)), None)
        if codec is None:
            raise SegtrainError(f"PyAV has none of the encoders {', '.join(_CODECS)}; leave overlays out of --save")
        self._container = av.open(path, "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream(codec, rate=rate, options=_QUALITY[codec])
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"

    def write(self, pixels: Pixels) -> None:
        for packet in self._stream.encode(self._frame_of(pixels, format="rgb24")):
            self._container.mux(packet)

    def close(self) -> None:
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()


def _can_encode(codec: str) -> bool:
    import av

    try:
        return bool(av.Codec(codec, "w").is_encoder)
    except ValueError:  # as PyAV says that it does not know it
        return False


class _OpencvEncoder:
    def __init__(self, path: Path, rate: Fraction, size: tuple[int, int]) -> None:
        import cv2

        self._file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), float(rate), size)
        if not self._file.isOpened():
            raise SegtrainError(
                "OpenCV cannot write videos of overlays; pip install 'segtrain[video]', or leave overlays out of --save"
            )

    def write(self, pixels: Pixels) -> None:
        self._file.write(np.ascontiguousarray(pixels[..., ::-1]))

    def close(self) -> None:
        self._file.release()
