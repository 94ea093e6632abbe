"""Networks with detections for the benchmarks of inference: trained ones, or adjusted random ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from networks import AS_TORCHVISION, pair
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.ops import FrozenBatchNorm2d

from segtrain.data.loader import Batch
from segtrain.segmenters.mask_rcnn.model import MaskRCNN
from segtrain.segmenters.mask_rcnn.preprocess import InputSize
from segtrain.training.checkpoint import build_trainable, load_checkpoint, restore_weights, segmenter_node

LEARNING_RATE, WARM_UP = 1.5e-3, 10  # of the short training: experiment=nuclei's, reached in so many steps
SPREAD = 2.0  # standard deviation of the logits of random classes
DIRECTIONS = 8  # of the features, in which classes differ
BIASES = (-20.0, 20.0)  # between which the background's lies
HALVINGS = 9  # of that interval: not so many that a score lies at the threshold itself

Sizes = list[tuple[int, int]]
BoxOutputs = tuple[Tensor, Tensor, list[Tensor], Sizes]  # class logits, deltas, proposals, sizes of the inputs


def from_checkpoint(path: Path) -> tuple[MaskRCNN, StockMaskRCNN]:
    """Load a checkpoint into our network and torchvision's; both are in evaluation mode, ours in float32."""
    checkpoint = load_checkpoint(path)
    node = segmenter_node(checkpoint, str(path), max_dets=None, trust=())
    settings = {key: value for key, value in node.items() if not key.startswith("_")}
    # A network that was trained aligned runs by torchvision's conventions too: the same work, with shifted results.
    ours = build_trainable(node | AS_TORCHVISION, checkpoint.class_names, initialise=False).eval()
    assert isinstance(ours, MaskRCNN)
    restore_weights(ours, checkpoint.model, str(path))
    blank = torch.zeros((3, 64, 64), dtype=torch.uint8)
    _, stock = pair({**settings, "weights": None}, checkpoint.class_names, [blank], min_size=64)
    for name, module in ours.named_modules():
        if isinstance(module, FrozenBatchNorm2d):
            stock.get_submodule(name).eps = module.eps
    stock.transform.max_size = ours.input_size.max_size
    stock.load_state_dict(ours.state_dict())
    return ours, stock.eval()


def set_stock_size(stock: StockMaskRCNN, size: InputSize, image: Tensor) -> None:
    """Set torchvision's shorter side for an image so that it resizes it by the same factor as our network."""
    stock.transform.min_size = (size.min_size if size.scale is None else min(image.shape[-2:]) * size.scale,)
    stock.transform.max_size = size.max_size


def stock_detections(stock: StockMaskRCNN, size: InputSize, image: Tensor) -> dict[str, Tensor]:
    """Segment a uint8 image (3, H, W) by torchvision, called as its documentation says."""
    set_stock_size(stock, size, image)
    with torch.inference_mode():
        (found,) = stock([image / 255])
    return dict(found)


def train_briefly(model: MaskRCNN, batches: Iterable[Batch]) -> None:
    """Take an AdamW step for each batch, at the learning rate of experiment=nuclei."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE, fused=True)
    for step, batch in enumerate(batches):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min((step + 1) / WARM_UP, 1)
        torch.autograd.backward(torch.stack(list(model.losses(batch.images, batch.targets).values())).sum())
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


@torch.inference_mode()
def recognise_regions(stock: StockMaskRCNN, size: InputSize, images: Sequence[Tensor]) -> None:
    """Set the weights of the class layer so that each class recognises one region of these images.

    The scores of a random layer hardly differ. The weights of a class are the region's feature, projected onto the
    principal directions in which the regions of one image differ; those of the background are 0. Directions that
    separate the images are left out, so that each image shows some classes. Rounding does not change the principal
    directions, so in bfloat16 the network finds about as much as in float32.
    """
    layer = stock.roi_heads.box_predictor.cls_score
    each = -(-(layer.out_features - 1) // len(images))
    features = [_box_features(stock, size, image)[0] for image in images]
    means = torch.stack([feature.mean(0) for feature in features])
    apart = torch.linalg.qr((means - means.mean(0)).T).Q
    own = [feature - mean for feature, mean in zip(features, means, strict=True)]
    own = [feature - feature @ apart @ apart.T for feature in own]
    main = torch.linalg.svd(torch.cat(own), full_matrices=False).Vh[:DIRECTIONS]
    # Best proposals come first: the chosen ones are spread over good and bad.
    chosen = torch.cat([feature[torch.linspace(0, len(feature) - 1, each).long()] for feature in own])
    rows = F.normalize(chosen @ main.T @ main)[: layer.out_features - 1]
    rows *= SPREAD / (torch.cat(own) @ rows.T).std()
    layer.weight.copy_(torch.cat([torch.zeros_like(rows[:1]), rows]))
    layer.bias.copy_(-layer.weight @ means.mean(0))


@torch.inference_mode()
def find_as_many(stock: StockMaskRCNN, size: InputSize, images: Sequence[Tensor], wanted: Sequence[float]) -> None:
    """Shift the background's bias until the network finds a given number of objects in the median image.

    Args:
        stock: torchvision's network in evaluation mode; changed in place.
        size: size of its input.
        images: uint8 images (3, H, W) to count in.
        wanted: number of detections in each image.
    """
    predictor = stock.roi_heads.box_predictor
    outputs: list[BoxOutputs] = []
    for image in images:
        features, proposals, sizes = _box_features(stock, size, image)
        outputs.append((*predictor(features), proposals, sizes))
    low, high = BIASES
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = median(_count(stock, middle, output) / number for output, number in zip(outputs, wanted, strict=True))
        low, high = (middle, high) if found > 1 else (low, middle)
    predictor.cls_score.bias[0] += high


def _box_features(stock: StockMaskRCNN, size: InputSize, image: Tensor) -> tuple[Tensor, list[Tensor], Sizes]:
    set_stock_size(stock, size, image)
    batch, _ = stock.transform([image / 255])
    maps = stock.backbone(batch.tensors)
    proposals, _ = stock.rpn(batch, maps)
    pooled = stock.roi_heads.box_roi_pool(maps, proposals, batch.image_sizes)
    return stock.roi_heads.box_head(pooled), proposals, batch.image_sizes


def _count(stock: StockMaskRCNN, bias: float, outputs: BoxOutputs) -> int:
    logits, deltas, proposals, sizes = outputs
    shift = torch.tensor([bias, *[0.0] * (logits.shape[1] - 1)])
    (boxes,), _, _ = stock.roi_heads.postprocess_detections(logits + shift, deltas, proposals, sizes)
    return len(boxes)
