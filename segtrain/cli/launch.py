"""From the command line to a task: composition, the output folder, and errors as one line."""

import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import hydra
import rich
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segtrain.cli.config import find_problems, register_schemas
from segtrain.cli.overrides import compose
from segtrain.errors import SegtrainError

_RESULTS = ("checkpoints", "results.json")
# Hydra's own options; with one of them no task runs, or not on the configuration that is checked here.
_QUESTIONS = ("help", "hydra_help", "cfg", "info", "shell_completion", "config_path", "config_name", "config_dir")


@dataclass(frozen=True)
class Command:
    """The command that started a task: what repeats it, and where its configuration came from.

    Attributes:
        program: first words of the command, such as ``("python", "evaluate.py")``.
        arguments: what follows them, as typed.
        overrides: those of the arguments that are settings of the task.
        config_folders: folders of YAML files that the configuration was composed from.
        hydra: Hydra's own configuration; None if Hydra did not start the task.
    """

    program: Sequence[str]
    arguments: Sequence[str]
    overrides: Sequence[str]
    config_folders: Sequence[Path] = ()
    hydra: Any = None

    @classmethod
    def of_hydra(cls) -> "Command":
        """Describe the command whose task Hydra is running now."""
        hydra_config = HydraConfig.get()
        folders = [Path(source.path) for source in hydra_config.runtime.config_sources if source.schema == "file"]
        program = ("python", Path(sys.argv[0]).name)
        return cls(program, sys.argv[1:], list(hydra_config.overrides.task), folders, hydra_config)

    def line(self, *more: str) -> str:
        """Return the command as it is typed in a shell.

        Args:
            more: further arguments.
        """
        return shlex.join([*self.program, *self.arguments, *more])

    def record(self, config: Mapping[str, Any], output_dir: Path) -> None:
        """Write down what was asked for, and from now on every message; a task calls it before its first output.

        Hydra would write before anything is checked, and so into the folder of another run that this one must not
        touch.

        Args:
            config: of the task.
            output_dir: gets ``.hydra/config.yaml``, ``overrides.yaml`` and ``hydra.yaml``, and a log file that begins
                with the messages so far.
        """
        records: dict[str, Any] = {"config": config, "overrides": list(self.overrides)}
        if self.hydra is not None:
            records["hydra"] = {"hydra": self.hydra}
        folder = output_dir / ".hydra"
        folder.mkdir(parents=True, exist_ok=True)
        for name, record in records.items():
            (folder / f"{name}.yaml").write_text(OmegaConf.to_yaml(record), encoding="utf-8")
        _log_to(output_dir / f"{Path(self.program[-1]).stem}.log")


Task = Callable[[dict[str, Any], Path, Command], object]


def launch(task: Task, config_dir: Path, config_name: str) -> None:
    """Run a task under Hydra.

    Args:
        task: receives the composed, resolved and checked configuration as plain values, the run's folder, and the
            command; what it returns is the value that sweepers optimise, if it is a number.
        config_dir: the folder of the YAML files.
        config_name: the root in it.

    Raises:
        SystemExit: with code 1 after one line on stderr, when the user's input is at fault.
    """
    debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on instead of printing them
    register_schemas()

    def main(cfg: DictConfig) -> object:
        output_dir = Path(HydraConfig.get().runtime.output_dir)
        # Here and not around Hydra, which would add a line of its own to the error.
        with _errors_as_one_line(debugging):
            values = {**_checked(cfg, []), "output_dir": str(output_dir)}
            _start_logging()
            return task(values, output_dir, Command.of_hydra())

    with _errors_as_one_line(debugging):
        _check_command(config_dir, config_name)
        hydra.main(version_base="1.3", config_path=str(config_dir), config_name=config_name)(main)()


@contextmanager
def _errors_as_one_line(debugging: bool) -> Iterator[None]:
    try:
        yield
    except (SegtrainError, HydraException, OmegaConfBaseException, OSError) as error:
        if debugging:
            raise
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _checked(cfg: DictConfig, mistakes: list[str]) -> dict[str, Any]:
    """The configuration as plain, resolved values.

    Args:
        cfg: composed.
        mistakes: found so far.

    Raises:
        SegtrainError: lists these, and every value and argument that is wrong.
    """
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    named = {str(key): value for key, value in values.items()}
    if problems := [*mistakes, *find_problems(named)]:
        raise SegtrainError("; ".join(problems))
    return named


def _check_command(config_dir: Path, config_name: str) -> None:
    """Find mistakes before Hydra makes or changes the run's folder."""
    flags, unknown = get_args_parser().parse_known_args()
    if unknown:
        raise SegtrainError(f"{unknown[0]}: no such option; settings are given as KEY=VALUE, see --help")
    if any(getattr(flags, question) for question in _QUESTIONS):
        return
    with hydra.initialize_config_dir(str(config_dir), version_base="1.3"):
        cfg, mistakes = compose(config_name, flags.overrides)
        values = _checked(cfg, mistakes)
    resume = values.get("resume") == "auto"
    if resume and not any(override.startswith("output_dir=") for override in flags.overrides):
        raise SegtrainError("resume=auto needs output_dir=DIR, the folder of the run to go on with")
    folder = Path(values["output_dir"])
    jobs = [path for path in folder.glob("*") if path.name.isdecimal()] if flags.multirun else []
    for path in (folder, *sorted(jobs)):
        _check_output_dir(path, values["overwrite"], resume)


def _check_output_dir(folder: Path, overwrite: bool, resume: bool) -> None:
    held = [name for name in _RESULTS if (folder / name).exists()]
    if held and not overwrite and not resume:
        raise SegtrainError(
            f"{folder} already holds {' and '.join(held)}; choose another output_dir=, or overwrite=true"
            + (", or resume=auto to go on with it" if "checkpoints" in held else "")
        )
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        reason = error.strerror if nearest.is_dir() else f"{nearest} is a file"
        raise SegtrainError(f"output_dir {folder} cannot be written ({reason}); choose another output_dir=") from error


class _Terminal(logging.Handler):
    """Short messages on stdout, above a progress bar if there is one; stderr is for errors."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "py.warnings":  # of libraries, about their own affairs; the file has them
            rich.get_console().print(record.getMessage(), soft_wrap=True, markup=False, highlight=False)


def _start_logging() -> None:
    """Messages to the terminal, in short; kept for the run's folder as well, until it may be written into."""
    kept = MemoryHandler(capacity=sys.maxsize, flushLevel=sys.maxsize)
    logging.basicConfig(level=logging.INFO, handlers=[_Terminal(), kept], force=True)
    logging.captureWarnings(True)


def _log_to(path: Path) -> None:
    """Write every message to a file, those kept so far first."""
    root = logging.getLogger()
    file = logging.FileHandler(path)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for handler in [handler for handler in root.handlers if isinstance(handler, MemoryHandler)]:
        handler.setTarget(file)
        root.removeHandler(handler)
        handler.close()  # hands on what it has kept
    root.addHandler(file)
