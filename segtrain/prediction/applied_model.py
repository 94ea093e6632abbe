"""Segmenter that is applied to new images: of a run, of a checkpoint, of an evaluation's winner, or named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.nn import Module

from segtrain.benchmark.fingerprints import digest, of_file, of_node
from segtrain.data.images.intensities.intensity import FULL, Intensity
from segtrain.data.images.reading import Reading
from segtrain.device import resolve_device, to_device
from segtrain.errors import SegtrainError
from segtrain.io import expand_path
from segtrain.nodes import build, config_folder, nearest, own_folders, read_yaml, require_own_targets
from segtrain.records import OBJECT, Category
from segtrain.score_thresholds import ScoreThresholds
from segtrain.segmenters.classical.segmenter import LabelMapSegmenter
from segtrain.segmenters.tiles import TiledSegmenter, Tiling, tiled
from segtrain.training.checkpoint import load_checkpoint, restore_segmenter
from segtrain.training.checkpoint_paths import checkpoint_file
from segtrain.values import Overlap, Precision, TileSetting

_WINNER = (".yaml", ".yml")


@dataclass(frozen=True)
class NetworkSettings:
    """Settings of a trained network that its user may change; None for those of the training.

    Attributes:
        precision: "fp32", "bf16" or "fp16".
        max_dets: largest number of instances that the network returns for an image, or for each window of one.
        tile: "auto" to cut images larger than those of training and validation into windows, "off" never to, or the
            side of square windows in pixels of the image. A method without training takes whole images unless it is
            given a side.
        overlap: least share of a window's side that neighbours have in common.
    """

    precision: Precision | None = None
    max_dets: int | None = None
    tile: TileSetting | None = None
    overlap: Overlap | None = None


AS_TRAINED = NetworkSettings()


@dataclass(frozen=True)
class AppliedModel:
    """Segmenter with the settings that are needed to apply it to new images.

    Attributes:
        segmenter: the segmenter, on its device, which cuts large images into windows.
        title: name of the network or of the method.
        source: path or name from which it was loaded.
        categories: category of each label 1..K; a single one for a classical method, whose labels are all 0.
        thresholds: operating point, and that of single categories; 0 where scores only rank.
        max_dets: largest number of instances of an image, or of each window of one; None for no limit.
        intensity: ranges by which images are read.
        fingerprint: text that differs where weights or settings differ.
        reading: channels of images, and treatment of their EXIF orientations.
    """

    segmenter: TiledSegmenter
    title: str
    source: str
    categories: Sequence[Category]
    thresholds: ScoreThresholds
    max_dets: int | None
    intensity: Intensity
    fingerprint: str
    reading: Reading = field(default_factory=Reading)


def load_applied(
    source: str, settings: NetworkSettings = AS_TRAINED, *, device: str = "auto", trust: Sequence[str] = ()
) -> AppliedModel:
    """Load the segmenter that a command names.

    Args:
        source: a run's folder, a checkpoint, ``tuned/segmenter/NAME_winner.yaml`` of an evaluation, or the name of a
            classical method, such as "threshold_otsu".
        settings: settings that differ from those of the training; ``precision`` and ``max_dets`` are for networks.
        device: "auto", "cpu", "cuda" or "cuda:N".
        trust: packages beside segtrain whose code a checkpoint may name.

    Raises:
        SegtrainError: there is no such model, it cannot be read, or it names code of a package that is not trusted.

    >>> load_applied("threshold_otsu").categories
    [Category(id=1, name='object', entry=0)]
    """
    path = expand_path(source)
    if path.suffix.lower() in _WINNER and path.is_file():
        return _load_method(path, source, settings, device, trust)
    if not path.exists() and "/" not in source and not path.suffix:
        known = method_files()
        if source not in known:
            raise SegtrainError(
                f"{source}: neither a run's folder, nor a checkpoint, nor a method; {nearest(source, list(known))}"
            )
        return _load_method(known[source], source, settings, device, trust)
    return load_network(path, settings, device=device, trust=trust)


def load_network(
    path: str | Path, settings: NetworkSettings = AS_TRAINED, *, device: str = "auto", trust: Sequence[str] = ()
) -> AppliedModel:
    """Load a trained network.

    Args:
        path: a run's folder, whose best checkpoint is taken, or a checkpoint.
        settings: settings that differ from those of the training.
        device: "auto", "cpu", "cuda" or "cuda:N".
        trust: packages beside segtrain whose code the checkpoint may name.

    Raises:
        SegtrainError: there is no checkpoint, it cannot be read, or it names code of a package that is not trusted.
    """
    file = checkpoint_file(path)
    checkpoint = load_checkpoint(file)
    network = restore_segmenter(
        checkpoint, str(file), max_dets=settings.max_dets, precision=settings.precision, trust=trust
    )
    network.tile = network.tile if settings.tile is None else settings.tile
    network.overlap = network.overlap if settings.overlap is None else settings.overlap
    categories = [
        Category(number, name, entry)
        for entry, (number, name) in enumerate(zip(checkpoint.category_ids, checkpoint.class_names, strict=True))
    ]
    return AppliedModel(
        tiled(to_device(network, resolve_device(device))),
        network.title,
        str(file),
        categories,
        checkpoint.thresholds,
        checkpoint.max_dets if settings.max_dets is None else settings.max_dets,
        checkpoint.intensity_of_new_images,
        digest(of_file(file), network.precision, settings.max_dets, network.tile, network.overlap),
        checkpoint.reading,
    )


def method_files() -> dict[str, Path]:
    """Find the YAML files of the methods that need no training, by name: the classical ones, and those of the user."""
    folders = [folder / "segmenter" for folder in (config_folder(), *own_folders())]
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    return {name: path for name, path in files.items() if _needs_no_training(read_yaml(path))}


def _load_method(path: Path, source: str, settings: NetworkSettings, device: str, trust: Sequence[str]) -> AppliedModel:
    """Build the method of a YAML file; a network of the user is one whose weights that file names."""
    _require_no_network({"--precision": settings.precision, "--max-dets": settings.max_dets}, source)
    node = read_yaml(path)
    if not _needs_no_training(node):
        raise SegtrainError(f"{path}: describes no method that needs no training; give a run's folder for a network")
    require_own_targets({"segmenter": node}, str(path), trust)
    tiling = Tiling(settings.tile or "off", settings.overlap or Tiling.overlap)
    fingerprint = digest(path.stem, of_node(node), tiling.tile, tiling.overlap)
    segmenter = build(node)
    if isinstance(segmenter, Module):
        segmenter = to_device(segmenter, resolve_device(device))
    else:
        _require_no_network({"--device": None if device in ("auto", "cpu") else device}, source)
    return AppliedModel(
        TiledSegmenter(segmenter, tiling), path.stem, source, [OBJECT], ScoreThresholds(0.0), None, FULL, fingerprint
    )


def _require_no_network(given: Mapping[str, object], source: str) -> None:
    """Check that no setting of networks has a value where the model is a method that is none."""
    if named := [name for name, value in given.items() if value is not None]:
        raise SegtrainError(f"{' and '.join(named)}: for networks alone, and {source} is none; leave it out")


def _needs_no_training(node: Mapping[str, Any]) -> bool:
    """Return True for classical methods, and for a user's segmenters that are built without class names."""
    target = str(node.get("_target_", "segtrain"))
    own = not target.startswith("segtrain.") and target != "segtrain" and not node.get("_partial_")
    return own or target == f"{LabelMapSegmenter.__module__}.{LabelMapSegmenter.__name__}"
