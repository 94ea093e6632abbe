"""Text of ``--help``: groups with their options, and keys with defaults, comments and types.

Defaults are those of the composed configuration; comments stand in the YAML files, types in the records.
"""

import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from msgspec import Struct
from omegaconf import DictConfig, OmegaConf

from segtrain.cli.config import Evaluate, Train
from segtrain.training.settings import TrainSettings
from segtrain.values import describe_type, describe_value

_INDENT, _COLUMN, _WIDEST = 2, 30, 120  # characters
_FROM_CHECKPOINT = " (null: as the checkpoint was trained)"
_NOT_FOR_USERS = {"generator", "from_checkpoint"}  # keys of data; its options set them
_OF_TRAINING = {"min_object_pixels"}  # keys of data that evaluations do not use
Comments = Mapping[str, str]


def help_text(program: Sequence[str], config_name: str, *, _root_: DictConfig) -> str:
    """Write the help of a command: a resolver for ``hydra.help.template``.

    Args:
        program: first words of the command.
        config_name: root among the YAML files: "train" or "evaluate".
        _root_: composed configuration with Hydra's own; OmegaConf fills it in.
    """
    command = shlex.join(program)
    hydra = _root_.hydra
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    values: Any = OmegaConf.to_container(_root_, resolve=False)
    record = Train if config_name == "train" else Evaluate
    hidden = _NOT_FOR_USERS if config_name == "train" else _NOT_FOR_USERS | _OF_TRAINING
    about_data = {key: text for key, text in read_comments(folders, "data/coco").items() if key not in hidden}
    from_checkpoint = bool(values["data"]["from_checkpoint"])
    lines = [
        *[hydra.help.header, "", f"usage: {command} [GROUP=OPTION ...] [KEY=VALUE ...]", "", "Groups:"],
        *_groups(config_name, folders, hydra.runtime.choices),
        *["", "Keys:", *_keys(record, values, read_comments(folders, config_name))],
        *["", f"Keys of data{_FROM_CHECKPOINT if from_checkpoint else ''}:"],
        *_keys(get_type_hints(record)["data"], values["data"], about_data, "data.", may_be_null=from_checkpoint),
    ]
    if config_name == "train":
        comments = read_comments(folders, "trainer/default")
        lines += ["", "Keys of trainer:", *_keys(TrainSettings, values["trainer"], comments, "trainer.")]
    lines += ["", hydra.help.footer.rstrip(), f"All keys and values: {command} --cfg job"]
    return "\n".join(lines).replace("$", "$$")  # Hydra fills in the text by string.Template


def _keys(
    record: type, values: Mapping[str, Any], comments: Comments, prefix: str = "", *, may_be_null: bool = False
) -> Iterator[str]:
    """Describe the keys of a record that have a comment; groups are described by their own.

    Args:
        record: keys and their types.
        values: values by key.
        comments: comments by dotted key, as their file has them.
        prefix: start of the keys as they are typed, such as ``"data."``.
        may_be_null: True if every key takes null besides the values of its type.
    """
    for name, hint in get_type_hints(record, include_extras=True).items():
        if name not in comments:
            continue
        if isinstance(hint, type) and issubclass(hint, Struct):
            inner = {key.partition(".")[2]: text for key, text in comments.items() if key.startswith(f"{name}.")}
            yield from _entry(f"{prefix}{name}", comments[name])
            yield from _keys(hint, values[name], inner, f"{prefix}{name}.")
        else:
            kind = describe_type(hint | None if may_be_null else hint).removeprefix("a ")
            yield from _entry(f"{prefix}{name}={describe_value(values[name])}", f"{comments[name]} ({kind})")


def _groups(config_name: str, folders: Sequence[Path], choices: Mapping[str, str]) -> Iterator[str]:
    """Describe the groups of the root's defaults list, with the options that suit the command."""
    text = _read(folders, config_name)
    for group, comment in re.findall(r"^  - (\w+): \w+ # (.*)$", text, re.MULTILINE):
        options = [option for option in _options(folders, group) if _suits(folders, config_name, group, option)]
        yield from _entry(f"{group}={choices[group]}", f"{comment}: {', '.join(options)}")
    if config_name == "evaluate":
        rows = [name for name in _options(folders, "segmenter") if _suits(folders, config_name, "segmenter", name)]
        yield from _entry("+segmenter@segmenters.NAME=OPTION", f"a further row: {', '.join(rows)}")


def _options(folders: Sequence[Path], group: str) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _suits(folders: Sequence[Path], config_name: str, group: str, option: str) -> bool:
    """Return False for options that the command refuses: networks are trained, and evaluated from a checkpoint."""
    if group == "segmenter":
        return _states(folders, f"{group}/{option}", "_partial_: true") == (config_name == "train")
    return not (config_name == "train" and _states(folders, f"{group}/{option}", "from_checkpoint: true"))


def _states(folders: Sequence[Path], name: str, line: str) -> bool:
    """Return True if a file, or one that it builds on, has a line; composing all options would take seconds."""
    text = _read(folders, name)
    bases = re.findall(r"^  - ([\w/]+)(?:@_here_)?$", text, re.MULTILINE)
    group = name.rpartition("/")[0]
    return bool(re.search(rf"^{line}\b", text, re.MULTILINE)) or any(
        _states(folders, f"{group}/{base}", line) for base in bases if base != "_self_"
    )


def read_comments(folders: Sequence[Path], name: str) -> Comments:
    """Read the comments of a YAML file; the comment of a key stands behind it, or above it.

    Args:
        folders: folders of YAML files, in the order in which Hydra searches them.
        name: path of the file in its folder, without the ending.

    Returns:
        Comments by dotted key.
    """
    comments: dict[str, str] = {}
    parent, above = "", list[str]()
    for line in _read(folders, name).splitlines():
        if found := re.match(r"(  )?(\w+):(?: .*?)??(?:\s+# (.*))?$", line):
            nested, key, comment = found.groups()
            parent = parent if nested else key
            if text := comment or " ".join(above):
                comments[f"{parent}.{key}" if nested else key] = text
        above = [*above, line.lstrip("# ")] if line.startswith("#") else []
    return comments


def _read(folders: Sequence[Path], name: str) -> str:
    """Read a YAML file from the first folder that has it, as Hydra does."""
    path = next((folder / f"{name}.yaml" for folder in folders if (folder / f"{name}.yaml").is_file()), None)
    return path.read_text(encoding="utf-8") if path else ""


def _entry(name: str, text: str) -> Iterator[str]:
    """Set a name and what is said about it in two columns, as argparse does."""
    width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST) - _COLUMN
    first, *more = textwrap.wrap(text, max(width, 40), break_on_hyphens=False)
    start = " " * _INDENT + name
    if len(start) > _COLUMN - 2:
        yield start
        start = ""
    yield f"{start:<{_COLUMN}}{first}"
    yield from (" " * _COLUMN + line for line in more)
