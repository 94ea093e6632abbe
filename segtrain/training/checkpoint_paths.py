"""Paths of checkpoints."""

from pathlib import Path

from segtrain.errors import SegtrainError
from segtrain.io import expand_path


def checkpoint_file(path: str | Path, preferred: str = "best.pt") -> Path:
    """Find the checkpoint that a path names.

    Args:
        path: path of a checkpoint, or of a run's folder.
        preferred: file of a run's folder to take if there is one, "best.pt" or "last.pt".

    Raises:
        SegtrainError: there is no such file, or the folder holds no checkpoint.
    """
    path = expand_path(path)
    if not path.exists():
        raise SegtrainError(f"{path}: no such file; give a run's folder or a checkpoint")
    if not path.is_dir():
        return path
    for folder in (path / "checkpoints", path):
        for name in (preferred, "best.pt", "last.pt"):
            if (folder / name).exists():
                return folder / name
    raise SegtrainError(f"{path}: holds no checkpoint (checkpoints/best.pt); give a run's folder or a checkpoint")


def newest_checkpoint(runs: Path = Path("runs/train"), otherwise: str = "or give the path of a checkpoint") -> Path:
    """Return the path of the newest ``best.pt``.

    Args:
        runs: folder of the runs, searched at any depth.
        otherwise: remedies beside training a network, for the message; the last one begins with "or".

    Raises:
        SegtrainError: there is none.
    """
    found = sorted(runs.glob("**/checkpoints/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SegtrainError(f"no checkpoint below {runs}: train a network first, {otherwise}")
    return found[-1]
