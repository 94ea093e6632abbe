"""Command that started a task, its record in the run's folder, and the messages of a run."""

import logging
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from segtrain.cli.hydra_options import is_sweep
from segtrain.io import naming, one_line, without_controls
from segtrain.nodes import quote_override, shell_line
from segtrain.training.sweep_journal import settings_of

if TYPE_CHECKING:
    from rich.console import RenderableType

OF_THE_PLACE = ("output_dir", "overwrite")  # settings that say where a command writes
ERRORS = "segtrain.errors"  # logger of the lines that stderr shows


@dataclass(frozen=True)
class Command:
    """The command that started a task, and the origin of its configuration.

    Attributes:
        program: first words of the command, such as ``("python", "evaluate.py")``.
        arguments: further words of the command, as typed.
        overrides: those of the arguments that are settings of the task.
        config_folders: folders of YAML files that the configuration was composed from.
        hydra: Hydra's own configuration; None if Hydra did not start the task.
        log_name: name of the run's log file.

    >>> command = Command(("python", "train.py"), ["data.root=my data"], ["data.root=my data"])
    >>> command.line("seed=1")
    "python train.py 'data.root=my data' seed=1"
    """

    program: Sequence[str]
    arguments: Sequence[str]
    overrides: Sequence[str]
    config_folders: Sequence[Path] = ()
    hydra: Any = None
    log_name: str = "run.log"

    def line(self, *more: str) -> str:
        """Return the command as it is typed in a shell.

        Args:
            more: further arguments.
        """
        return shell_line([*self.program, *self.arguments, *more])

    def line_with(self, **settings: str) -> str:
        """Return the command as it is typed in a shell, with some settings replaced; of a sweep, that of this job.

        Args:
            settings: values by key; keys below them are dropped.

        >>> Command(("python", "train.py"), ["seed=1", "overwrite=true"], []).line_with(overwrite="false")
        'python train.py seed=1 overwrite=false'
        """
        own = self.overrides if is_sweep(self.arguments) else self.arguments
        given = [f"{key}={quote_override(value)}" for key, value in settings.items()]
        return shell_line([*self.program, *without_keys(own, settings), *given])

    def line_of_sweep(self, folder: Path) -> str:
        """Return the command of the sweep that this job is part of, as it goes on in its folder.

        Args:
            folder: folder of the sweep.

        >>> Command(("python", "train.py"), ["-m", "seed=0,1", "overwrite=true"], []).line_of_sweep(Path("runs/a"))
        'python train.py -m seed=0,1 output_dir=runs/a'
        """
        kept = without_keys(self.arguments, OF_THE_PLACE)
        return shell_line([*self.program, *kept, f"output_dir={quote_override(str(folder))}"])

    def given_settings(self) -> dict[str, str | float]:
        """Return what the command sets of the experiment, by key: its name, and what differs from its preset.

        >>> Command((), [], ["experiment=nuclei", "optimizer.lr=1e-3", "seed=3", "output_dir=runs/a"]).given_settings()
        {'experiment': 'nuclei', 'optimizer.lr': 0.001, 'seed': 3}
        """
        given = {key: value for key, value in settings_of(self.overrides).items() if not key.startswith("~")}
        # A space of a search, sweep=NAME, chooses its experiment.
        experiment = "demo" if self.hydra is None else self.hydra.runtime.choices.get("experiment", "demo")
        return {"experiment": experiment, **{key: _number(value) for key, value in given.items()}}

    def record(
        self, config: Mapping[str, Any], output_dir: Path, changes: Mapping[str, tuple[Any, Any]] | None = None
    ) -> None:
        """Write the configuration and the command to the output folder, and from now on every message to its log.

        A task calls it before its first output. Hydra itself would write before the settings are checked, and so
        possibly into the folder of another run.

        Args:
            config: configuration of the task.
            output_dir: gets ``.hydra/config.yaml``, ``overrides.yaml`` and ``hydra.yaml``, and a log file that begins
                with the messages so far.
            changes: settings that a resumed run has changed, with their former and present values; the records are then
                written to ``.hydra/resumed_N``, and earlier ones are kept. None for a new run.
        """
        records: dict[str, Any] = {"config": config, "overrides": list(self.overrides)}
        if self.hydra is not None:
            records["hydra"] = {"hydra": self.hydra}
        folder = output_dir / ".hydra"
        if changes is not None and folder.exists():
            folder /= f"resumed_{len(list(folder.glob('resumed_*'))) + 1}"
            records["changes"] = {key: {"then": then, "now": now} for key, (then, now) in changes.items()}
        folder.mkdir(parents=True, exist_ok=True)
        for name, record in records.items():
            path = folder / f"{name}.yaml"
            with naming(path):
                path.write_text(OmegaConf.to_yaml(record), encoding="utf-8")
        _log_to(output_dir / self.log_name)


def without_keys(arguments: Sequence[str], keys: Collection[str]) -> list[str]:
    """Leave out the arguments that set some keys, or keys below them.

    >>> without_keys(["seed=3", "resume.path=auto", "optimizer.lr=1e-3"], ["resume", "seed"])
    ['optimizer.lr=1e-3']
    """
    return [argument for argument in arguments if re.split("[.=]", argument.lstrip("+"))[0] not in keys]


def _number(text: str) -> str | float:
    """Return a number as such, and other text as it is."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


class _PlainFormatter(logging.Formatter):
    """Lines without control characters, which a terminal that shows the file would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return without_controls(super().format(record))


class _Terminal(logging.Handler):
    """Short messages on stdout, above a progress bar if there is one; stderr is for errors."""

    def emit(self, record: logging.LogRecord) -> None:
        # Warnings of libraries, and errors that are printed on stderr, go to the file only.
        if record.name not in ("py.warnings", ERRORS):
            show(record.getMessage())


def show(content: "str | RenderableType") -> None:
    """Print text, or a table, on stdout; work goes on where nobody can read it, which is said once.

    Args:
        content: text, whose control characters are replaced, or what rich prints.
    """
    import rich  # only where there is something to say: help and errors come without it

    from segtrain.console import print_table

    console = rich.get_console()
    try:
        if isinstance(content, str):
            console.print(without_controls(content), soft_wrap=True, markup=False, highlight=False)
        else:
            print_table(content)
    except (OSError, SystemExit):  # the latter is rich's, where the reader of a pipe has gone
        console.quiet = True
        show_error("stdout is closed: no more messages are shown; those of a run are in its log file")


def show_error(text: str) -> None:
    """Print a line on stderr, and write it to the log file of the run if it has begun one."""
    line = one_line(text)
    if logging.getLogger().handlers:  # without any, logging would print it again
        logging.getLogger(ERRORS).error(line)
    with suppress(OSError):  # nobody reads it any more
        print(line, file=sys.stderr, flush=True)


def start_logging() -> None:
    """Send messages to the terminal without their level and time, and keep them until `Command.record` opens a file."""
    kept = MemoryHandler(capacity=sys.maxsize, flushLevel=sys.maxsize)
    logging.basicConfig(level=logging.INFO, handlers=[_Terminal(), kept], force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a log file that cannot be written, on a full disk, says so where it matters


@contextmanager
def logging_to_terminal() -> Iterator[None]:
    """Send messages to the terminal while the block runs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    start_logging()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)


@contextmanager
def logging_of_a_run() -> Iterator[None]:
    """Log the run inside at level INFO, and take its log file from the root logger at its end."""
    root, ours = logging.getLogger(), logging.getLogger("segtrain")
    handlers, level = root.handlers[:], ours.level
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(level)
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()


def _log_to(path: Path) -> None:
    """Write every message to a file, those kept so far first."""
    root = logging.getLogger()
    file = logging.FileHandler(path)
    file.setFormatter(_PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for handler in [handler for handler in root.handlers if isinstance(handler, MemoryHandler)]:
        handler.setTarget(file)
        root.removeHandler(handler)
        handler.close()  # hands on what it has kept
    root.addHandler(file)
