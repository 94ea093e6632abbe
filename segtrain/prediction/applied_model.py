"""Segmenter that is applied to new images: of a run, of a checkpoint, of an evaluation's winner, or named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segtrain.benchmark.fingerprints import digest, of_file, of_node
from segtrain.data.images.intensities.intensity import FULL, Intensity
from segtrain.errors import SegtrainError
from segtrain.io import expand_path
from segtrain.nodes import build, config_folder, nearest, read_yaml, require_own_targets
from segtrain.records import Category
from segtrain.runtime import resolve_device, to_device
from segtrain.segmenters import Segmenter
from segtrain.segmenters.classical.segmenter import LabelMapSegmenter
from segtrain.training.checkpoint import checkpoint_file, load_checkpoint, restore_segmenter
from segtrain.values import Precision

_OBJECT = Category(1, "object")
_WINNER = (".yaml", ".yml")


@dataclass(frozen=True)
class AppliedModel:
    """Segmenter with the settings that are needed to apply it to new images.

    Attributes:
        segmenter: the segmenter, on its device.
        title: name of the network or of the method.
        source: path or name from which it was loaded.
        categories: category of each label 1..K; a single one for a classical method, whose labels are all 0.
        score_threshold: operating point; 0 where scores only rank.
        max_dets: largest number of instances of an image; None for no limit.
        intensity: ranges by which images are read.
        channels: channels of an image that become red, green and blue; None for the colours that files declare.
        fingerprint: text that differs where weights or settings differ.
    """

    segmenter: Segmenter
    title: str
    source: str
    categories: Sequence[Category]
    score_threshold: float
    max_dets: int | None
    intensity: Intensity
    channels: tuple[int, ...] | None
    fingerprint: str


def load_applied(
    source: str,
    *,
    device: str = "auto",
    precision: Precision | None = None,
    max_dets: int | None = None,
    trust: Sequence[str] = (),
) -> AppliedModel:
    """Load the segmenter that a command names.

    Args:
        source: a run's folder, a checkpoint, ``tuned/segmenter/NAME_winner.yaml`` of an evaluation, or the name of a
            classical method, such as "threshold_otsu".
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16"; None for that of the training.
        max_dets: largest number of instances that a network returns for an image; None for that of the training.
        trust: packages beside segtrain whose code a checkpoint may name.

    Raises:
        SegtrainError: there is no such model, it cannot be read, or it names code of a package that is not trusted.

    >>> load_applied("threshold_otsu").categories
    [Category(id=1, name='object', entry=0)]
    """
    path = expand_path(source)
    if path.suffix.lower() in _WINNER and path.is_file():
        return _classical(path, source)
    if not path.exists() and "/" not in source and not path.suffix:
        known = classical_files()
        if source not in known:
            raise SegtrainError(
                f"{source}: neither a run's folder, nor a checkpoint, nor a classical method; "
                f"{nearest(source, list(known))}"
            )
        return _classical(known[source], source)
    return load_network(path, device=device, precision=precision, max_dets=max_dets, trust=trust)


def load_network(
    path: str | Path,
    *,
    device: str = "auto",
    precision: Precision | None = None,
    max_dets: int | None = None,
    trust: Sequence[str] = (),
) -> AppliedModel:
    """Load a trained network.

    Args:
        path: a run's folder, whose best checkpoint is taken, or a checkpoint.
        device: see `load_applied`, as for the other arguments.
        precision: see there.
        max_dets: see there.
        trust: see there.

    Raises:
        SegtrainError: there is no checkpoint, it cannot be read, or it names code of a package that is not trusted.
    """
    file = checkpoint_file(path)
    checkpoint = load_checkpoint(file)
    network = restore_segmenter(checkpoint, str(file), max_dets=max_dets, precision=precision, trust=trust)
    intensity = Intensity.from_plain(checkpoint.intensity)
    if intensity.others is None:  # files of types that the training did not have
        intensity = replace(intensity, others="full")
    categories = [
        Category(number, name, entry)
        for entry, (number, name) in enumerate(zip(checkpoint.category_ids, checkpoint.class_names, strict=True))
    ]
    channels = checkpoint.config.get("data", {}).get("channels")
    return AppliedModel(
        to_device(network, resolve_device(device)),
        network.title,
        str(file),
        categories,
        checkpoint.score_threshold,
        checkpoint.max_dets if max_dets is None else max_dets,
        intensity,
        None if channels is None else tuple(channels),
        digest(of_file(file), network.precision, max_dets),
    )


def classical_files() -> dict[str, Path]:
    """Find the YAML files of the classical methods, by name."""
    files = sorted((config_folder() / "segmenter").glob("*.yaml"))
    return {path.stem: path for path in files if _is_classical(read_yaml(path))}


def _classical(path: Path, source: str) -> AppliedModel:
    """Build the classical method of a YAML file."""
    node = read_yaml(path)
    require_own_targets({"segmenter": node}, str(path))
    if not _is_classical(node):
        raise SegtrainError(f"{path}: describes no classical method; give a run's folder for a network")
    fingerprint = digest(path.stem, of_node(node))
    return AppliedModel(build(node), path.stem, source, [_OBJECT], 0.0, None, FULL, None, fingerprint)


def _is_classical(node: Mapping[str, Any]) -> bool:
    return node.get("_target_") == f"{LabelMapSegmenter.__module__}.{LabelMapSegmenter.__name__}"
