"""Small U-Net: an example of a user's own network, which trains without changes to segtrain."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from segtrain import masks
from segtrain.records import Instances
from segtrain.segmenters import Trainable
from segtrain.targets import Target

IGNORED = -100


class UNet(Trainable):
    """U-Net that classifies pixels as background or a category; connected pixels of one category are an object.

    Args:
        class_names: names of labels 1..K.
        width: number of channels at full resolution; twice as many at half the resolution.
    """

    title = "U-Net"
    resume_keys = ("width",)

    def __init__(self, class_names: Sequence[str], *, width: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.middle = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.up = nn.Sequential(nn.Conv2d(3 * width, width, 3, padding=1), nn.ReLU())
        self.classify = nn.Conv2d(width, len(class_names) + 1, 1)

    def logits(self, image: Tensor) -> Tensor:
        """Return (K + 1, H, W) logits of a uint8 image (3, H, W), the background first."""
        with self.autocast():
            fine = self.down(image.to(self.device)[None].float() / 255 - 0.5)
            coarse = F.interpolate(self.middle(fine), size=fine.shape[-2:])
            result: Tensor = self.classify(self.up(torch.cat([fine, coarse], 1)))[0].float()
        return result

    def losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        terms = []
        for image, target in zip(images, targets, strict=True):
            truth = torch.zeros(image.shape[1:], dtype=torch.int64)
            for (x0, y0, x1, y1), mask, label in zip(
                target.boxes.int().tolist(), target.masks, target.labels, strict=True
            ):
                truth[y0:y1, x0:x1][mask > 0] = label
            for (x0, y0, x1, y1), mask in zip(target.ignored_boxes.int().tolist(), target.ignored_masks, strict=True):
                truth[y0:y1, x0:x1][(mask > 0) & (truth[y0:y1, x0:x1] == 0)] = IGNORED
            # A sum, as the mean over no pixel at all is not a number.
            total = F.cross_entropy(
                self.logits(image)[None], truth.to(self.device)[None], ignore_index=IGNORED, reduction="sum"
            )
            terms.append(total / max(int((truth != IGNORED).sum()), 1))
        return {"loss_pixels": torch.stack(terms).mean()}

    def segment_one(self, image: Tensor) -> Instances:
        probabilities = self.logits(image).softmax(0).cpu().numpy()
        best = probabilities.argmax(0)
        found = []
        for label in range(1, len(probabilities)):
            regions, count = ndimage.label(best == label)
            means = ndimage.mean(probabilities[label], regions, np.arange(1, count + 1))
            found += [
                (float(score), label, rle) for score, rle in zip(means, masks.encode_labels(regions), strict=True)
            ]
        found.sort(key=lambda instance: -instance[0])
        rles = [rle for _, _, rle in found]
        return Instances(
            size=(int(image.shape[1]), int(image.shape[2])),
            boxes=masks.boxes(rles).astype(np.float32),
            labels=np.array([label for _, label, _ in found], dtype=np.int64),
            scores=np.array([score for score, _, _ in found], dtype=np.float32),
            rles=rles,
        )
