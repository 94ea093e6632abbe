"""torchvision's own Mask R-CNN in place of ours, with the same weights, and code that builds it without segtrain."""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, roi_align

from segtrain.errors import SegtrainError
from segtrain.segmenters.mask_rcnn.backbones import Backbone, StockBackbone, find_backbone
from segtrain.segmenters.mask_rcnn.factory import TORCHVISION_NAMES, Shape, build_network
from segtrain.segmenters.mask_rcnn.model import ANCHOR_STRIDES, BOX_BINS, MASK_BINS
from segtrain.segmenters.mask_rcnn.preprocess import DEVIATION, MEAN, InputSize
from segtrain.segmenters.mask_rcnn.roi_align import SAMPLES_PER_AXIS
from segtrain.segmenters.mask_rcnn.rpn import CentredAnchorGenerator
from segtrain.segmenters.mask_rcnn.traceable_network import TraceableMaskRCNN
from segtrain.segmenters.mask_rcnn.weights import trained_without_epsilon

Settings = Mapping[str, Any]  # arguments of the factory `mask_rcnn`, as checkpoints keep them

_USED = ("rpn_candidates_test", "rpn_proposals_test", "detections_per_image", "min_score", "nms_iou")
_IMPORTS = {  # names of generated code
    "Sequence": "from collections.abc import Sequence",
    "torch": "import torch",
    "torchvision": "import torchvision",
    "Tensor": "from torch import Tensor",
    "MaskRCNN": "from torchvision.models.detection import MaskRCNN",
    "AnchorGenerator": "from torchvision.models.detection.anchor_utils import AnchorGenerator",
    "BackboneWithFPN": "from torchvision.models.detection.backbone_utils import BackboneWithFPN",
    "FastRCNNPredictor": "from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead",
    "MaskRCNNHeads": "from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor",
    "GeneralizedRCNNTransform": "from torchvision.models.detection.transform import GeneralizedRCNNTransform",
    "MultiScaleRoIAlign": "from torchvision.ops import MultiScaleRoIAlign, roi_align",
}
_LOADER = '''def load_model(path=Path(__file__).with_suffix(".pt")):
    """Load the network in evaluation mode, and what else the file says, such as the names of its classes."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    {build}
    model.load_state_dict(content.pop("model"))  # every weight has its place, and none is missing
    return model.eval(), content
'''


# The source of these two classes is written into exported files, so that they use imports of `_IMPORTS` alone.
class FixedScale(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform, with the same factor for all images in place of a length of their shorter side.

    Args:
        scale: input pixels per image pixel.
        max_size: largest number of input pixels along the longer side.
        mean: mean of each channel.
        deviation: standard deviation of each channel.
    """

    def __init__(self, scale: float, max_size: int, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__(max_size, max_size, list(mean), list(deviation))
        self.scale = scale

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Resize an image (3, H, W), and the boxes and masks of its target."""
        height, width = image.shape[-2:]
        factor = min(self.scale, self.max_size / max(height, width))
        self.fixed_size = max(int(width * factor), 1), max(int(height * factor), 1)
        resized: tuple[Tensor, dict[str, Tensor] | None] = super().resize(image, target)
        return resized


class AlignedRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's pooling, with cells sampled at their centres (``aligned=True``)."""

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: object) -> Tensor:
        """Pool regions.

        Args:
            x: map of each level, at strides 4, 8, 16 and 32, (B, C, H, W).
            boxes: regions of each image, (R, 4) xyxy in input pixels.
            image_shapes: not used; torchvision infers the strides from it.

        Returns:
            (sum of R, C, P, P) for an output size of P.
        """
        rois = torch.cat([torch.cat([torch.full_like(own[:, :1], n), own], dim=1) for n, own in enumerate(boxes)])
        size = torch.sqrt((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2]))
        level = torch.floor(4 + torch.log2(size / 224) + 1e-6).clamp(2, 5) - 2
        pooled = rois.new_zeros((len(rois), x[self.featmap_names[0]].shape[1], *self.output_size))
        for number, name in enumerate(self.featmap_names):
            own = torch.where(level == number)[0]
            scale = 1 / (4 * 2**number)
            pooled[own] = roi_align(x[name], rois[own], self.output_size, scale, self.sampling_ratio, aligned=True)
        return pooled


def traceable_network(settings: Settings, num_classes: int, state: Mapping[str, Tensor]) -> TraceableMaskRCNN:
    """Build the network that can be traced, on torchvision's own modules.

    Args:
        settings: settings of the network, ``aligned`` resolved.
        num_classes: number of categories plus one for the background.
        state: weights by name.
    """
    network = build_network(
        Shape.of(settings), num_classes, norm="frozen", frozen_stages=0, **{name: settings[name] for name in _USED}
    )
    network.load_state_dict(state)
    if _without_epsilon(settings):
        for module in network.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.eps = 0.0
    return TraceableMaskRCNN(
        network, input_size(settings), aligned=settings["aligned"], mask_scoring=settings["mask_scoring"]
    )


def input_size(settings: Settings) -> InputSize:
    """Return the size that images are resized to."""
    return InputSize(settings["min_size"], settings["max_size"], settings["scale"])


def stock_code(settings: Settings, num_classes: int, about: str) -> str:
    """Write a Python file that loads the weights into torchvision's network, with torch and torchvision alone.

    The network is the stock one where torchvision has what was trained. Otherwise the file also holds the parts that
    torchvision lacks: the pooling and the anchors of aligned networks, and a fixed scale of the input.

    Args:
        settings: settings of the network, ``aligned`` resolved.
        num_classes: number of categories plus one for the background.
        about: docstring of the file.

    Raises:
        SegtrainError: the backbone is one that states no code.
    """
    ratios = tuple(settings["anchor_ratios"])
    sizes = tuple(tuple(level) for level in settings["anchor_sizes"])
    anchors = f"AnchorGenerator({sizes}, ({ratios},) * {len(sizes)}"
    parts: list[type] = []
    if settings["aligned"]:
        parts += [CentredAnchorGenerator, AlignedRoIAlign]
        anchors = f"Centred{anchors}, {ANCHOR_STRIDES}"
    lines = [f"anchors = {anchors})", *_construction(settings, num_classes)]
    if settings["aligned"]:
        for head, bins in (("box", BOX_BINS), ("mask", MASK_BINS)):
            pooling = f'AlignedRoIAlign(["0", "1", "2", "3"], {bins}, {SAMPLES_PER_AXIS})'
            lines.append(f"model.roi_heads.{head}_roi_pool = {pooling}")
    if settings["scale"] is not None:
        parts.append(FixedScale)
        lines.append(f"model.transform = FixedScale({settings['scale']}, {settings['max_size']}, {MEAN}, {DEVIATION})")
    if _without_epsilon(settings):
        lines += ["for module in model.modules():", "    if isinstance(module, torch.nn.BatchNorm2d):"]
        lines.append("        module.eps = 0.0  # as torchvision does for these weights")
    sources = [inspect.getsource(part).replace("  # type: ignore[misc]", "") for part in parts]
    return _file(about, "\n\n".join([*sources, _LOADER.format(build="\n    ".join(lines))]))


def _file(about: str, body: str) -> str:
    """Put a docstring and the imports that are needed before code."""
    needed = [line for name, line in _IMPORTS.items() if re.search(rf"\b{name}\b", body)]
    standard = sorted([*(line for line in needed if "collections" in line), "from pathlib import Path"])
    others = [line for line in needed if "collections" not in line]
    return "\n".join([f'"""{about}"""', "", *standard, "", *others, "", "", body])


def _construction(settings: Settings, num_classes: int) -> list[str]:
    """Return the lines that build ``model`` with random weights."""
    backbone = find_backbone(settings["architecture"])
    arguments = {TORCHVISION_NAMES[name]: settings[name] for name in _USED}
    if settings["scale"] is None:
        arguments = {"min_size": settings["min_size"], "max_size": settings["max_size"], **arguments}
    given = [f"    {name}={value}," for name, value in arguments.items()]
    if isinstance(backbone, StockBackbone):
        first = f"    weights=None, weights_backbone=None, num_classes={num_classes},"
        start = f"model = torchvision.models.detection.{backbone.builder}("
        return [start, first, *given, ")", "model.rpn.anchor_generator = anchors"]
    return [*_assembly(backbone, settings, num_classes), *given, ")"]


def _assembly(backbone: Backbone, settings: Settings, num_classes: int) -> list[str]:
    if backbone.code is None:
        raise SegtrainError(
            f"segmenter.architecture={settings['architecture']}: states no code that builds it from torchvision; add "
            "it to its entry of BACKBONES"
        )
    width, box_width, mask_widths = (settings[name] for name in ("fpn_channels", "box_head_width", "mask_head_widths"))
    levels, channels = dict(backbone.levels), list(backbone.channels)
    return [
        "model = MaskRCNN(",
        f"    BackboneWithFPN({backbone.code}, {levels}, {channels}, {width}),",
        "    rpn_anchor_generator=anchors,",
        f"    box_head=TwoMLPHead({width} * 7 * 7, {box_width}),",
        f"    box_predictor=FastRCNNPredictor({box_width}, {num_classes}),",
        f"    mask_head=MaskRCNNHeads({width}, {list(mask_widths)}, 1),",
        f"    mask_predictor=MaskRCNNPredictor({mask_widths[-1]}, {mask_widths[-1]}, {num_classes}),",
    ]


def _without_epsilon(settings: Settings) -> bool:
    weights = settings["weights"]
    return weights is not None and trained_without_epsilon(weights, settings["architecture"])
