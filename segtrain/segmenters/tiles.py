"""Segmenters of large images: overlapping windows are segmented one by one, and what is found is joined."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from segtrain.records import Instances
from segtrain.segmenters import Segmenter, SegmenterInfo, info_of
from segtrain.segmenters.inputs import SHRUNK, KnownInputs
from segtrain.segmenters.seams import SeamJoiner
from segtrain.segmenters.windows import ImagePixels, Pixels, Window, WindowGrid
from segtrain.values import OVERLAP, Overlap, TileSetting

if TYPE_CHECKING:
    from torch import Tensor

    from segtrain.segmenters.trainable import Trainable


@dataclass(frozen=True)
class Tiling:
    """Rule by which images are cut into windows.

    Attributes:
        tile: "auto" for images larger than those of training and validation, in windows of the largest input; "off" for
            none; or the side of square windows, in pixels of the image, for all that are larger.
        overlap: least share of a window's side that neighbours have in common.
        inputs: sizes that the network has seen; None if they are not known, or for a segmenter without training, whose
            images "auto" leaves whole.
    """

    tile: TileSetting = "auto"
    overlap: float = OVERLAP
    inputs: KnownInputs | None = None

    def grid(self, size: tuple[int, int]) -> WindowGrid | None:
        """Return the windows of an image of this (H, W); None if it is segmented as a whole."""
        if self.tile == "off" or (self.tile == "auto" and (self.inputs is None or self.inputs.include(size))):
            return None
        if isinstance(self.tile, int):
            window = self.tile, self.tile
        else:
            assert self.inputs is not None
            window = self.inputs.window(size)
        if size[0] <= window[0] and size[1] <= window[1]:
            return None
        rows, columns = (max(int(side * self.overlap), 1) for side in window)
        return WindowGrid(size, window, (rows, columns))


class WindowSummary(NamedTuple):
    """Images of a set that are cut into windows, or shrunk.

    Attributes:
        most: largest number of windows of an image; 1 if none is cut.
        cut: number of images that are cut.
        shrunk: number of images that are smaller in the network than those that it has seen.
    """

    most: int
    cut: int
    shrunk: int


@dataclass(frozen=True)
class TiledSegmenter:
    """Segmenter that cuts large images into overlapping windows, and applies another one to each.

    A network sees each window at the scale of its training, and returns up to its own number of detections for it.
    Memory is that of a window, and of the run lengths of what was found.

    Attributes:
        segmenter: segmenter of the windows, and of whole images that need none.
        tiling: rule by which images are cut.

    >>> import torch
    >>> from segtrain.segmenters.classical.segmenter import LabelMapSegmenter
    >>> from segtrain.segmenters.classical.threshold import mean
    >>> image = torch.zeros(3, 40, 90, dtype=torch.uint8)
    >>> image[:, 10:20, 10:60] = 200
    >>> bright = LabelMapSegmenter(mean, 1, "Mean threshold.", "threshold", None)
    >>> TiledSegmenter(bright, Tiling(40)).segment([image])[0].boxes.tolist()
    [[10.0, 10.0, 60.0, 20.0]]
    """

    segmenter: Segmenter
    tiling: Tiling = field(default_factory=Tiling)

    @property
    def scores_are_learned(self) -> bool:
        """See `Segmenter`."""
        return self.segmenter.scores_are_learned

    @property
    def info(self) -> SegmenterInfo:
        """Facts about the segmenter of the windows."""
        return info_of(self.segmenter)

    def segment(self, images: Sequence["Tensor"]) -> list[Instances]:
        """See `Segmenter`."""
        return [self.segment_pixels(ImagePixels(image)) for image in images]

    def segment_pixels(self, pixels: Pixels, advance: Callable[[], None] = lambda: None) -> Instances:
        """Segment an image that is read window by window.

        Args:
            pixels: the image.
            advance: called after each window.
        """
        grid = self.tiling.grid(pixels.size)
        if grid is None:
            return self.segmenter.segment([pixels.read(Window(0, 0, pixels.size[1], pixels.size[0]))])[0]
        joiner = SeamJoiner(grid)
        for window in grid:
            joiner.add(self._segment_window(pixels.read(window)))
            advance()
        return joiner.joined()

    def windows(self, size: tuple[int, int]) -> int:
        """Return the number of windows of an image of this (H, W); 1 if it is segmented as a whole."""
        grid = self.tiling.grid(size)
        return 1 if grid is None else len(grid)

    def is_shrunk(self, size: tuple[int, int]) -> bool:
        """Return True if an image of this (H, W) enters the network as a whole, and smaller than those it has seen.

        Where these are not known, they are taken for images that entered in their own size.
        """
        from segtrain.segmenters.trainable import Trainable

        known = self.tiling.inputs
        if not isinstance(self.segmenter, Trainable) or self.tiling.grid(size) is not None:
            return False
        if known is not None and known.include(size):
            return False
        return self.segmenter.input_scale(*size) < SHRUNK * (1.0 if known is None else known.scale)

    def summarise(self, sizes: Sequence[tuple[int, int]]) -> WindowSummary:
        """Count the images of some sizes that are cut into windows, and those that are shrunk.

        Args:
            sizes: (H, W) of the images.
        """
        counts = Counter(sizes)
        cut = {size: windows for size in counts if (windows := self.windows(size)) > 1}
        return WindowSummary(
            most=max(cut.values(), default=1),
            cut=sum(counts[size] for size in cut),
            shrunk=sum(count for size, count in counts.items() if self.is_shrunk(size)),
        )

    def _segment_window(self, image: "Tensor") -> Instances:
        from segtrain.segmenters.trainable import Trainable

        if isinstance(self.segmenter, Trainable) and self.tiling.inputs is not None:
            return self.segmenter.segment_at([image], self.tiling.inputs.scale)[0]
        return self.segmenter.segment([image])[0]


def tiled(network: "Trainable") -> TiledSegmenter:
    """Wrap a network so that large images are cut into windows, as its settings ``tile`` and ``overlap`` say.

    Args:
        network: network; it keeps its device and mode.
    """
    inputs = network.inputs or KnownInputs.presumed(network.input_scale)
    return TiledSegmenter(network, Tiling(network.tile, network.overlap, inputs))


def in_windows(segmenter: Segmenter, *, tile: TileSetting, overlap: Overlap) -> TiledSegmenter:
    """Wrap a method without training so that images are cut into windows, as ``configs/segmenter/tiled.yaml`` does.

    Args:
        segmenter: segmenter of the windows.
        tile: side of the windows in pixels; "auto" and "off" for whole images.
        overlap: least share of a window's side that neighbours have in common.
    """
    return TiledSegmenter(segmenter, Tiling(tile, overlap))
