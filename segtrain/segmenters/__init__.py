"""Segmenters: everything that turns images into instances.

`Segmenter` is the interface of all; `Trainable`, the base class of networks, is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from segtrain.segmenters.interface import MaskGrid, Segmenter, SegmenterInfo, info_of

if TYPE_CHECKING:  # PyTorch takes seconds and 500 MB, and an evaluation of result files does not need it
    from segtrain.segmenters.trainable import Trainable

__all__ = ["MaskGrid", "Segmenter", "SegmenterInfo", "Trainable", "info_of"]

if not TYPE_CHECKING:  # a type checker that saw __getattr__ would accept any name

    def __getattr__(name: str) -> object:
        """Load `Trainable` (PEP 562)."""
        if name != "Trainable":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from segtrain.segmenters.trainable import Trainable

        return Trainable
