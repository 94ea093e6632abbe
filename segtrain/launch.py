"""From the command line to a task: composition, the output folder, and errors as one line."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.logging import RichHandler

from segtrain.config import check_targets, register_schemas
from segtrain.errors import SegtrainError

Task = Callable[[dict[str, Any], Path], float | None]
_RESULTS = ("checkpoints", "results.json")


def launch(task: Task, config_dir: Path, config_name: str) -> None:
    """Run a task under Hydra.

    Args:
        task: receives the composed, resolved and checked configuration as plain values, and the run's folder.
        config_dir: the folder of the YAML files.
        config_name: the root in it.

    Raises:
        SystemExit: with code 1 after one line on stderr, when the user's input is at fault.
    """
    debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on instead of printing them
    register_schemas()

    def main(cfg: DictConfig) -> float | None:
        output_dir = Path(HydraConfig.get().runtime.output_dir)
        _log_to(output_dir / f"{config_name}.log")
        return task(to_values(cfg), output_dir)

    try:
        _check_command(config_dir, config_name)
        hydra.main(version_base="1.3", config_path=str(config_dir), config_name=config_name)(main)()
    except (SegtrainError, HydraException, OmegaConfBaseException, OSError) as error:
        if debugging:
            raise
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def to_values(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain, resolved, checked values.

    Raises:
        SegtrainError: a part cannot be built from its arguments; all of them are listed.
    """
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    check_targets({str(key): value for key, value in values.items()})
    return {str(key): value for key, value in values.items()}


def _check_command(config_dir: Path, config_name: str) -> None:
    """Find mistakes before Hydra makes or changes the run's folder."""
    arguments = sys.argv[1:]
    if any(
        a in ("-m", "--multirun") or a.startswith(("-h", "--h", "-c", "--c", "-i", "--i", "-s", "--s", "-p", "--p"))
        for a in arguments
    ):
        return
    overrides = [a for a in arguments if not a.startswith("-")]
    with hydra.initialize_config_dir(str(config_dir), version_base="1.3"):
        try:
            cfg = hydra.compose(config_name, overrides)
        except HydraException as error:
            raise SegtrainError("; ".join(_each_mistake(config_name, overrides) or [str(error)])) from None
    to_values(cfg)
    resume = "resume" in cfg and cfg.resume == "auto"
    if resume and not any(override.startswith("output_dir=") for override in overrides):
        raise SegtrainError("resume=auto needs output_dir=DIR, the folder of the run to go on with")
    _check_output_dir(Path(str(cfg.output_dir)), bool(cfg.overwrite), resume)


def _each_mistake(config_name: str, overrides: list[str]) -> list[str]:
    """Hydra stops at the first bad override; a user wants to hear of all."""
    groups = [o for o in overrides if "." not in o.partition("=")[0]]
    mistakes: list[str] = []
    for override in dict.fromkeys([*groups, *overrides]):
        try:
            hydra.compose(config_name, [*(g for g in groups if not mistakes and g != override), override])
        except HydraException as error:
            mistakes.append(f"{override}: {' '.join(str(error).split())}")
    return mistakes


def _check_output_dir(folder: Path, overwrite: bool, resume: bool) -> None:
    held = [name for name in _RESULTS if (folder / name).exists()]
    if held and not overwrite and not resume:
        raise SegtrainError(
            f"{folder} already holds {' and '.join(held)}; choose another output_dir=, or overwrite=true"
            + (", or resume=auto to go on with it" if "checkpoints" in held else "")
        )
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        reason = "permission denied" if nearest.is_dir() else f"{nearest} is a file"
        raise SegtrainError(f"output_dir {folder} cannot be written ({reason}); choose another output_dir=")


def _log_to(path: Path) -> None:
    """Messages to the terminal, in short, and to the run's folder, with time and origin."""
    terminal = RichHandler(console=Console(stderr=True), show_time=False, show_level=False, show_path=False)
    terminal.setFormatter(logging.Formatter("%(message)s"))
    file = logging.FileHandler(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[terminal, file], force=True)
    logging.captureWarnings(True)
