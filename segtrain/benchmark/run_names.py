"""Names of training runs by the settings in which they differ, or by their folders."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from segtrain.nodes import flat_settings
from segtrain.training.settings import WITHOUT_EFFECT
from segtrain.training.sweep_journal import short_key

SEPARATOR = " · "  # between the name of a segmenter and the settings of a run, and between two of these
_ABSENT = "–"  # value of a setting that a run does not have
_MOST = 3  # settings in a name; of more, only those that are needed to tell the runs apart
_LONGEST = 32  # characters of a value
_FOR_FILES = re.compile(r'[/\\<>:"|?*\x00-\x1f]+')  # characters that names of files cannot have everywhere
# Settings that say most about a run come first where not all are part of its name.
_TELLING = ("segmenter.architecture", "segmenter._target_", "optimizer._target_", "optimizer.lr")


def differing_settings(
    configs: Sequence[Mapping[str, Any]], ignored: Collection[str] = WITHOUT_EFFECT
) -> list[dict[str, str]]:
    """Find the settings in which runs differ.

    Args:
        configs: configuration of each run.
        ignored: dotted keys that do not count.

    Returns:
        For each run the values of these settings as short texts, by their dotted keys, the seed last.

    >>> runs = [{"seed": seed, "optimizer": {"lr": 0.001, "betas": [0.9, seed]}} for seed in (0, 1)]
    >>> differing_settings(runs)
    [{'optimizer.betas': '[0.9,0]', 'seed': '0'}, {'optimizer.betas': '[0.9,1]', 'seed': '1'}]
    """
    settings = [flat_settings(config, ignored=ignored) for config in configs]
    keys = dict.fromkeys(key for own in settings for key in own)
    differing = [key for key in keys if len({repr(own[key]) if key in own else "" for own in settings}) > 1]
    ordered = [key for key in differing if key != "seed"] + ["seed"] * ("seed" in differing)
    return [{key: _text(key, own[key]) if key in own else _ABSENT for key in ordered} for own in settings]


def _text(key: str, value: object) -> str:
    """Format the value of a setting; of the name of a class or function the last part."""
    return setting_text(str(value).rpartition(".")[2] if key.endswith("_target_") else value)


def setting_text(value: object) -> str:
    """Format the value of a setting for the name of a run; of a path its last part.

    >>> setting_text(0.001), setting_text(0.01), setting_text(None), setting_text(True), setting_text("weights/net.pt")
    ('1e-3', '0.01', 'none', 'true', 'net.pt')
    """
    if value is None or isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float) and isfinite(value):
        text = _shortest(value)
    elif isinstance(value, list | tuple):
        text = f"[{','.join(map(setting_text, value))}]"
    else:
        text = str(value).rstrip("/").rpartition("/")[2]
    text = _FOR_FILES.sub("-", text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _shortest(value: float) -> str:
    """Format a number in the usual way or with an exponent, whichever is shorter.

    >>> _shortest(0.0005), _shortest(0.00025), _shortest(100.0)
    ('5e-4', '2.5e-4', '100')
    """
    usual = f"{value:.15g}"
    mantissa, _, exponent = f"{value:.14e}".partition("e")
    short = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return short if len(short) < len(usual) else usual


def name_runs(paths: Sequence[Path], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Name runs by the settings in which they differ; those that do not by their folders besides.

    Args:
        paths: absolute paths of their checkpoints, all different.
        settings: values of the settings in which they differ, see `differing_settings`.

    Returns:
        A name for each, no two of them equal, which the name of a file may contain.

    >>> paths = [Path(f"/runs/{number}/checkpoints/best.pt") for number in range(3)]
    >>> grid = (("1e-3", "0"), ("1e-3", "1"), ("0.1", "0"))
    >>> name_runs(paths, [{"optimizer.lr": rate, "seed": seed} for rate, seed in grid])
    ['lr 1e-3 · seed 0', 'lr 1e-3 · seed 1', 'lr 0.1 · seed 0']
    >>> name_runs(paths, [{"optimizer.lr": "1e-3"}, {"optimizer.lr": "1e-3"}, {"optimizer.lr": "0.1"}])
    ['lr 1e-3 · 0', 'lr 1e-3 · 1', 'lr 0.1']
    """
    keys = _naming_keys(settings)
    names = [
        SEPARATOR.join(
            f"no {short}" if own[key] == _ABSENT else f"{short} {own[key]}"
            for key, short in zip(keys, short_keys(keys), strict=True)
        )
        for own in settings
    ]
    for tails in (run_names(paths), [str(number) for number in range(1, len(paths) + 1)]):
        count = Counter(name.casefold() for name in names)  # some file systems do not tell a from A
        names = [
            SEPARATOR.join(filter(None, [name, tail])) if count[name.casefold()] > 1 or not name else name
            for name, tail in zip(names, tails, strict=True)
        ]
    return names


def short_keys(keys: Sequence[str]) -> list[str]:
    """Shorten keys of settings to their last parts, or the last two of one that is a single letter.

    >>> short_keys(["optimizer.lr", "augmentation.flip.p", "segmenter._target_"])
    ['lr', 'flip.p', 'segmenter']
    """
    shown = [key.removesuffix("._target_") for key in keys]
    shorts = [short_key(key, shown) for key in shown]
    return [
        ".".join(key.split(".")[-2:]) if len(short) < 2 else short for key, short in zip(shown, shorts, strict=True)
    ]


def _naming_keys(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Choose the settings of the names: all, or of many as few as tell the runs apart; and the seed."""
    keys = [key for key in settings[0] if key != "seed"]
    seed = ["seed"] * ("seed" in settings[0])
    if len(keys) <= _MOST:
        return keys + seed

    def groups(chosen: Sequence[str]) -> int:
        return len({tuple(own[key] for key in chosen) for own in settings})

    def value(key: str) -> tuple[int, bool, int]:
        lacking = any(own[key] == _ABSENT for own in settings)
        telling = -_TELLING.index(key) if key in _TELLING else -len(_TELLING)
        return groups([*chosen, key]), not lacking, telling

    chosen: list[str] = []
    while groups(chosen) < groups(keys):
        chosen.append(max(keys, key=value))
    return [key for key in keys if key in chosen] + seed


def common_name(names: Sequence[str]) -> str:
    """Return what the names of several runs have in common, such as those of the seeds of one configuration.

    >>> common_name(["mask_rcnn · lr 1e-3 · seed 0", "mask_rcnn · lr 1e-3 · seed 1"])
    'mask_rcnn · lr 1e-3'
    """
    parts = [name.split(SEPARATOR) for name in names]
    return SEPARATOR.join(part for part in parts[0] if all(part in other for other in parts[1:]))


def run_names(paths: Sequence[Path]) -> list[str]:
    """Name checkpoints after their run folders, with as many of the folders above as are needed to distinguish them.

    If a folder holds two of the checkpoints, the file's name follows; if names are still equal, a number.

    Args:
        paths: absolute paths of checkpoints, all different.

    Returns:
        A name for each, no two of them equal.

    >>> run_names([Path("/runs/a/checkpoints/best.pt"), Path("/runs/b/checkpoints/best.pt")])
    ['a', 'b']
    """
    folders = [run_folder(path) for path in paths]
    shared = len(set(folders)) < len(folders)
    endings = [[path.stem] if shared else [] for path in paths]
    for depth in range(1, max(len(folder.parts) for folder in folders)):
        names = ["-".join([*folder.parts[-depth:], *end]) for folder, end in zip(folders, endings, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [f"{folder.name}-{number}" for number, folder in enumerate(folders, start=1)]


def run_folder(path: Path) -> Path:
    """Return the folder of the run that has saved a checkpoint.

    >>> run_folder(Path("/runs/a/checkpoints/best.pt")).as_posix()
    '/runs/a'
    """
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent
