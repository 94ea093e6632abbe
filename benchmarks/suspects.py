"""Precision and recall of the labels to look at, on labels of which 5 % are damaged on purpose.

    python benchmarks/suspects.py instances_val.json mask_rcnn=predictions/mask_rcnn.json

Labels are dropped, shifted by half of their size, given another category, or merged with the nearest one, in equal
parts. A suspect is right where it names a damaged label, or where its mask is that of a damaged one before. What else
is on the list counts as wrong, although labels of real data have mistakes of their own.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segtrain import masks
from segtrain.benchmark.runner import MethodResult
from segtrain.benchmark.suspects import Suspect, find_suspects
from segtrain.data.check.load import load_index
from segtrain.data.coco.result_file import load_results
from segtrain.evaluation import SCORE_THRESHOLD, Detections, GroundTruthSet
from segtrain.masks import Rle
from segtrain.records import GroundTruth


class Damage:
    """Damaged labels.

    Args:
        truth: true labels.
        share: share of the labels to damage.
        seed: seed of the choice.
    """

    def __init__(self, truth: GroundTruthSet, share: float, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._truth = truth
        labels = {own["id"]: own for own in truth.truths}
        kinds = ["drop", "shift", "merge"] + ["swap"] * (len(truth.categories) > 1)
        plain = [own["id"] for own in truth.truths if not own["iscrowd"]]
        chosen = self._random.permutation(plain)[: round(share * len(plain))].tolist()
        self.kind: dict[int, str] = {}
        self.before: dict[int, list[Rle]] = {}
        for number, name in enumerate(chosen):
            if name in labels:  # not merged into another one
                self._apply(kinds[number % len(kinds)], labels, name, set(chosen))
        self.truth = GroundTruthSet(truth.categories, truth.sizes, list(labels.values()))

    def _apply(self, kind: str, labels: dict[int, GroundTruth], name: int, chosen: set[int]) -> None:
        own = labels[name]
        self.before[name] = [own["segmentation"]]
        if kind == "drop":
            del labels[name]
        elif kind == "shift":
            moved = _shifted(own["segmentation"], self._random)
            labels[name] = {**own, "segmentation": moved, "area": float(masks.area([moved])[0])}
        elif kind == "swap":
            others = [category.id for category in self._truth.categories if category.id != own["category_id"]]
            labels[name] = {**own, "category_id": int(self._random.choice(others))}
        else:
            same = [n for n, other in labels.items() if other["image_id"] == own["image_id"] and n not in chosen]
            if not same:
                return
            centres = masks.boxes([labels[n]["segmentation"] for n in [name, *same]]).reshape(-1, 2, 2).mean(axis=1)
            nearest = same[int(((centres[1:] - centres[0]) ** 2).sum(axis=1).argmin())]
            other = labels.pop(nearest)
            joined = masks.union([own["segmentation"], other["segmentation"]], self._truth.sizes[own["image_id"]])
            labels[name] = {**own, "segmentation": joined, "area": float(masks.area([joined])[0])}
            self.before[name].append(other["segmentation"])
        self.kind[name] = kind

    def hit_by(self, suspect: Suspect, image_of: dict[int, int]) -> int | None:
        """Return the damaged label that a suspect is about; None for no damaged one."""
        if suspect.annotation_id in self.kind:
            return suspect.annotation_id
        if suspect.annotation_id is not None:
            return None
        for name in self.kind:
            if image_of[name] == suspect.image_id:
                before = self.before[name]
                if masks.iou(suspect.found, before, [0] * len(before)).max() >= 0.5:
                    return name
        return None


def _shifted(rle: Rle, random: np.random.Generator) -> Rle:
    """Move a mask by half of its size in a random direction, cut at the border of the image."""
    crop, x, y = masks.decode_crop(rle)
    height, width = rle["size"]
    angle = random.uniform(0, 2 * np.pi)
    dy, dx = round(crop.shape[0] / 2 * np.sin(angle)), round(crop.shape[1] / 2 * np.cos(angle))
    plane = np.zeros((height + 2 * crop.shape[0], width + 2 * crop.shape[1]), dtype=np.uint8)
    top, left = y + dy + crop.shape[0], x + dx + crop.shape[1]
    plane[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return masks.encode(plane[crop.shape[0] : crop.shape[0] + height, crop.shape[1] : crop.shape[1] + width])


def report(damage: Damage, suspects: Sequence[Suspect], image_of: dict[int, int]) -> None:
    """Print precision, and recall by kind, of the first suspects.

    Args:
        damage: damaged labels.
        suspects: suspects, the most suspect ones first.
        image_of: image of each label.
    """
    kinds = defaultdict(set)
    for name, kind in damage.kind.items():
        kinds[kind].add(name)
    hits = [damage.hit_by(suspect, image_of) for suspect in suspects]
    total = len(damage.kind)
    print(f"{total} damaged labels, {len(suspects)} suspects; recall by kind: {', '.join(kinds)}")
    for length in (total // 2, total, 2 * total, len(suspects)):
        first = hits[:length]
        found = {name for name in first if name is not None}
        right = sum(name is not None for name in first) / max(len(first), 1)
        recalls = "  ".join(f"{kind} {len(found & own) / len(own):.2f}" for kind, own in kinds.items())
        print(f"first {len(first):5}: precision {right:.2f}, recall {len(found) / total:.2f}   {recalls}")


def main() -> None:
    """Damage labels, and look for them with given predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", type=Path)
    parser.add_argument("predictions", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--score-threshold", type=float, help="of files that state none")
    options = parser.parse_args()
    index = load_index(options.annotations, "warn")
    truth = GroundTruthSet.of(index)
    rows = {}
    for given in options.predictions:
        name, _, file = given.partition("=")
        content = load_results(Path(file), images=index.images, categories=truth.categories)
        threshold = next(
            (t for t in (options.score_threshold, content.score_threshold) if t is not None), SCORE_THRESHOLD
        )
        rows[name] = MethodResult(Detections(content.masks, content.boxes, content.class_aware, threshold))
    damage = Damage(truth, options.share, options.seed)
    image_of = {own["id"]: own["image_id"] for own in truth.truths}
    report(damage, find_suspects(rows, damage.truth, list(rows)), image_of)


if __name__ == "__main__":
    main()
