"""Export of a checkpoint to the files of another program."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from segtrain.arrays import RgbArray
from segtrain.errors import SegtrainError
from segtrain.export import onnx_example
from segtrain.export.agreement import Found, require_agreement, sample_images
from segtrain.export.facts import TrainedNetwork
from segtrain.export.onnx_file import onnx_detector, require_onnx, write_onnx
from segtrain.export.torch_export_file import torch_export_detector, write_torch_export
from segtrain.export.torchvision_file import torchvision_detector, write_torchvision
from segtrain.io import expand_path
from segtrain.training.checkpoint import restore_segmenter

Target = Literal["torchvision", "onnx", "torch_export"]
TARGETS = get_args(Target)
_ENDINGS: dict[str, tuple[str, ...]] = {"torchvision": (".pt", ".pth"), "onnx": (".onnx",), "torch_export": (".pt2",)}


@dataclass(frozen=True)
class Exported:
    """Files of an export.

    Attributes:
        files: path of the network, and of the code beside it.
        notes: lines on the network, and on how far it agrees with the one that it was made from.
    """

    files: Sequence[Path]
    notes: Sequence[str]


def export_network(
    source: str | Path,
    out: str | Path,
    *,
    to: Target,
    images: Sequence[str | Path] = (),
    max_dets: int | None = None,
    trust: Sequence[str] = (),
    overwrite: bool = False,
) -> Exported:
    """Export a trained network, and check that it finds what the original one finds.

    Args:
        source: a run's folder, whose best checkpoint is taken, or a checkpoint.
        out: path of the network's file, or a folder; code to load it is written beside it.
        to: "torchvision", "onnx" or "torch_export".
        images: image files on which both networks are compared; none for some of the data of the training.
        max_dets: largest number of detections of an image; None for that of the training.
        trust: packages beside segtrain whose code the checkpoint may name.
        overwrite: True to replace files that exist.

    Raises:
        SegtrainError: the checkpoint cannot be read or exported, a file exists, a package is missing, or the exported
            network finds something else.

    >>> import segtrain as st
    >>> done = st.export_network("runs/train/cells", "exported", to="torchvision")
    >>> [path.as_posix() for path in done.files]
    ['exported/model.pt', 'exported/model.py']
    """
    if to not in TARGETS:
        raise SegtrainError(f"{to!r} is no target; choose {', '.join(TARGETS)}")
    network = TrainedNetwork.load(source, max_dets, trust)
    file = _file(expand_path(out), to)
    files = [file] if to == "torch_export" else [file, file.with_suffix(".py")]
    if not overwrite and (existing := [path for path in files if path.exists()]):
        raise SegtrainError(f"{existing[0]}: exists already; give another OUT, or --overwrite to replace it")
    if to == "onnx":
        require_onnx()
    tried = sample_images(network.checkpoint, images)
    with tempfile.TemporaryDirectory() as folder:  # what does not agree is never seen
        made = Path(folder) / file.name
        note, detect = _write(network, to, made)
        notes = [note, *_check(network, to, detect, tried)]
        file.parent.mkdir(parents=True, exist_ok=True)
        for path in files:
            shutil.copyfile(made.with_name(path.name), path)
    return Exported(files, notes)


def _file(out: Path, to: Target) -> Path:
    """Return the path of the network's file."""
    if out.is_dir() or out.suffix.lower() not in {ending for endings in _ENDINGS.values() for ending in endings}:
        if out.is_file():
            raise SegtrainError(f"{out}: exists already, and is no folder; give another OUT")
        return out / f"model{_ENDINGS[to][0]}"
    if out.suffix.lower() not in _ENDINGS[to]:
        raise SegtrainError(f"{out}: --to {to} writes {' or '.join(_ENDINGS[to])}; give that ending, or a folder")
    return out


def _write(network: TrainedNetwork, to: Target, path: Path) -> tuple[str, Callable[[RgbArray], Found]]:
    """Write the files, and return a line on them and the function by which they are tried."""
    if to == "torchvision":
        return write_torchvision(network, path), torchvision_detector(path, network.least_scores)
    if to == "torch_export":
        return write_torch_export(network, path), torch_export_detector(path)
    note = write_onnx(network, path)
    shutil.copyfile(onnx_example.__file__, path.with_suffix(".py"))
    return note, onnx_detector(path)


def _check(
    network: TrainedNetwork,
    to: Target,
    detect: Callable[[RgbArray], Found],
    images: Sequence[tuple[str, RgbArray]],
) -> list[str]:
    """Compare with the original network, set to paste and to score as the exported one does."""
    stock = {"mask_paste": "torchvision", "mask_scoring": "none"} if to == "torchvision" else {"mask_paste": "exact"}
    original = restore_segmenter(
        network.checkpoint,
        str(network.path),
        max_dets=network.settings["detections_per_image"],
        precision="fp32",
        settings={"boxes": "predicted", "tile": "off", **stock},
    )
    return require_agreement(original, detect, images, network.least_scores)
