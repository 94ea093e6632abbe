"""From a mask head's squares to COCO's run-length strings.

    python benchmarks/masks_to_rle.py --coco DIR --check

Both sides begin with the same 28x28 probabilities and boxes and end with a compressed string for each mask.

- ours, exact: ``segtrain.segmenters.mask_rcnn.mask_paste.paste_masks``: from the squares to run lengths, without a
  plane. Most of its masks are nearly those of the other side, which cuts boxes to whole pixels, or the run fails.
- ours, like torchvision: ``paste_masks_as_torchvision``: one resized crop for each mask. The strings are compared, and
  the run fails where one differs.
- stock: ``torchvision.models.detection.roi_heads.paste_masks_in_image``, as the model's own postprocessing calls it,
  then ``> 0.5`` and ``pycocotools.mask.encode``, mask by mask in Fortran order, as COCO evaluation in torchvision's
  references/detection/coco_eval.py does it.

Rows: ``masks_to_rle_640x480``, ``masks_to_rle_1280x960``, ``masks_to_rle_4000x3000``, named after the image, are exact;
``masks_as_torchvision_640x480`` and so on are like torchvision. With ``--coco`` the boxes are those of its annotations,
drawn at random and scaled to the image; without, their sides are log-normal and as long as COCO's (geometric mean of
both sides: median .086 of the image's, deviation 1.07 of its logarithm; deviation of the logarithm of the aspect: .79).
The probabilities are soft blobs with an uneven outline.
"""

import argparse
import json
import sys

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from harness import alternate, arguments, finish
from pycocotools import mask as coco_mask
from rows import Row
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from segtrain import masks
from segtrain.segmenters.mask_rcnn.mask_paste import paste_masks, paste_masks_as_torchvision

SIDE = 28
CLOSE = 0.8  # IoU of exact masks with torchvision's, which are larger; the smallest differ most
SHIFT = (0.25, 0.25)  # of an input twice the image's size
# (H, W), masks, bound of exact pasting, bound of pasting like torchvision
CASES = (((480, 640), 100, 24, 1.5), ((960, 1280), 100, 55, 3), ((3000, 4000), 20, 310, 6))
Images = tuple[Tensor, Tensor, tuple[int, int]]  # probabilities (N, 28, 28), boxes (N, 4) xyxy, (H, W)
FloatArray = npt.NDArray[np.float64]


def exact(image: Images) -> list[str]:
    """Compute the strings from run lengths, without planes."""
    return [rle["counts"] for rle in paste_masks(*image, SHIFT)]


def like_torchvision(image: Images) -> list[str]:
    """Compute the strings from resized crops."""
    return [rle["counts"] for rle in paste_masks_as_torchvision(*image)]


def stock(image: Images) -> list[str]:
    """Compute the strings from planes."""
    probabilities, boxes, size = image
    planes = (paste_masks_in_image(probabilities[:, None], boxes, size) > 0.5).numpy()
    rles = [coco_mask.encode(np.array(plane[0, :, :, np.newaxis], dtype=np.uint8, order="F"))[0] for plane in planes]
    return [rle["counts"].decode("utf-8") for rle in rles]


def require_same(image: Images, name: str) -> None:
    """Stop unless masks like torchvision's are torchvision's, and exact ones close to them."""
    expected = stock(image)
    different = sum(a != b for a, b in zip(like_torchvision(image), expected, strict=True))
    if different:
        sys.exit(f"{name}: {different} of {len(expected)} strings differ from pycocotools'")
    size = list(image[2])
    overlaps = [
        masks.iou([masks.Rle(size=size, counts=a)], [masks.Rle(size=size, counts=b)], [False])[0, 0]
        for a, b in zip(exact(image), expected, strict=True)
    ]
    if np.median(overlaps) < CLOSE:
        sys.exit(f"{name}: the median IoU of exact masks with torchvision's is {np.median(overlaps):.3f}")


def soft_blobs(count: int, generator: torch.Generator) -> Tensor:
    """Probabilities (N, 28, 28) that fall from the inside to the outside over two or three cells."""
    line = torch.linspace(-1, 1, SIDE)
    noise = F.interpolate(torch.randn(count, 1, 7, 7, generator=generator), (SIDE, SIDE), mode="bicubic")[:, 0]
    return torch.sigmoid(12 * (0.85 - torch.hypot(line[:, None], line)) + 2 * noise)


def shares_of_coco(options: argparse.Namespace) -> FloatArray:
    """Collect the boxes of all annotations but crowds, xyxy as shares of their image's sides."""
    shares = []
    for name in ("train2017", "val2017"):
        content = json.loads((options.coco / "annotations" / f"instances_{name}.json").read_text())
        sides = {image["id"]: [image["width"], image["height"]] * 2 for image in content["images"]}
        for record in content["annotations"]:
            x, y, width, height = record["bbox"]
            if not record["iscrowd"] and width >= 1 and height >= 1:
                shares.append(np.divide([x, y, x + width, y + height], sides[record["image_id"]]))
    return np.array(shares)


def shares_like_coco(count: int, rng: np.random.Generator) -> FloatArray:
    """Draw as many boxes."""
    side = np.exp(rng.normal(np.log(0.086), 1.07, count))
    stretch = np.exp(rng.normal(0, 0.79 / 2, count))
    sides = np.stack([side * stretch, side / stretch], axis=1).clip(max=1)
    corner = rng.uniform(0, 1 - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def main(options: argparse.Namespace) -> None:
    """Measure three rows of each mode."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    shares = shares_of_coco(options) if options.coco else shares_like_coco(1000, rng)
    data = "coco" if options.coco else "drawn data like coco's"
    rows = []
    for size, most, *bounds in CASES:
        count = min(most, options.masks)
        chosen = rng.choice(shares, count, replace=False)
        boxes = torch.tensor(chosen * [size[1], size[0], size[1], size[0]], dtype=torch.float32)
        image = soft_blobs(count, generator), boxes, size
        require_same(image, f"{size[1]}x{size[0]}")
        what = f"{count} masks at {size[1]}x{size[0]}, boxes of {data}"
        for kind, ours, bound in zip(("to_rle", "as_torchvision"), (exact, like_torchvision), bounds, strict=True):
            times = alternate(ours, stock, [image], options.repeats)
            name = f"masks_{kind}_{size[1]}x{size[0]}"
            rows.append(Row(name, what, "ms", times[0] * 1e3, times[1] * 1e3, bound))
    finish(rows, options)


if __name__ == "__main__":
    parser = arguments("Masks of a head to run-length strings: segtrain against torchvision and pycocotools.")
    parser.add_argument("--masks", type=int, default=100, help="at most so many an image")
    main(parser.parse_args())
