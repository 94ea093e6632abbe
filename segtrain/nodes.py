"""Configuration nodes: finding, checking, building and writing the parts that a ``_target_`` names."""

import difflib
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

import segtrain
from segtrain.errors import SegtrainError
from segtrain.values import check_value, join_choices

Node = dict[str, Any]
_OFFERED = 8  # names; a longer list hides what matters in a message


def quote_override(path: str) -> str:
    """Format a path as the value of an override, quoted where Hydra's grammar needs it.

    Quotes for the shell are not added.
    """
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", path):
        return path
    # Backslashes are themselves, except before what they can escape: OmegaConf's "${", then Hydra's quote.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", path)
    text = re.sub(r"(\\*)(?='|$)", r"\1\1", text).replace("'", r"\'")
    return f"'{text}'"


def shell_line(words: Sequence[str]) -> str:
    """Join words to a command as it is typed in a shell; those with Hydra's quotes stand in double ones.

    >>> print(shell_line(["segtrain", "train", "data.root='my cells'", "data.crowd=$X", "optimizer.lr=0.1"]))
    segtrain train "data.root='my cells'" 'data.crowd=$X' optimizer.lr=0.1
    """
    double = (word if "'" in word and not set(word) & set('"$`\\!\n') else "" for word in words)
    return " ".join(f'"{word}"' if word else shlex.quote(own) for own, word in zip(words, double, strict=True))


def target_nodes(config: object, path: str = "") -> Iterator[tuple[str, Node]]:
    """Yield every node with a ``_target_``, with its dotted path."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield path, dict(config)
        for key, value in config.items():
            yield from target_nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from target_nodes(value, f"{path}[{index}]")


def check_node(path: str, node: Node) -> Iterator[str]:
    """Find arguments of a ``_target_`` node that are unknown, missing or, for parts of segtrain, of a wrong type.

    Args:
        path: place of the node in the configuration.
        node: node with a ``_target_``.

    Yields:
        One line for each such argument.
    """
    try:
        target: Callable[..., object] = get_object(node["_target_"])
    except (ImportError, ValueError) as error:
        yield f"{path}._target_: {' '.join(str(error).split())}"
        return
    arguments = {key: value for key, value in node.items() if not (key.startswith("_") and key.endswith("_"))}
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in arguments:
        if name not in parameters and not takes_any:
            yield f"{path}.{name}: {node['_target_']} has no such argument; {nearest(name, list(parameters))}"
    for name, parameter in parameters.items():
        fillable = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and fillable and name not in arguments and not node.get("_partial_"):
            yield f"{path}.{name}: missing, {node['_target_']} needs it"
    if getattr(target, "__module__", "").startswith("segtrain"):
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
        for name in arguments.keys() & hints.keys():
            if next(target_nodes(arguments[name]), None) is None:
                yield from check_value(f"{path}.{name}", arguments[name], hints[name])


def nearest(name: str, known: Sequence[str], otherwise: str = "") -> str:
    """Suggest names in place of an unknown one: the most similar ones, those that begin with it, or all if few.

    Args:
        name: name that was given.
        known: known names, at least one.
        otherwise: advice if none is similar and there are many.

    >>> nearest("epoch", ["epochs", "seed"]), nearest("x", ["epochs", "seed"])
    ('did you mean epochs?', 'choose epochs or seed')
    >>> nearest("kmeans", ["otsu", "kmeans_on_lab_colours", "kmeans_on_rgb_colours"])
    'did you mean kmeans_on_lab_colours or kmeans_on_rgb_colours?'
    """
    if match := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {match[0]}?"
    longer = [other for other in known if name and other.startswith(name)]
    if 0 < len(longer) <= _OFFERED:
        return f"did you mean {join_choices(longer)}?"
    if len(known) > _OFFERED:
        return otherwise or f"there are {len(known)}, such as {', '.join(known[:3])}"
    return f"choose {join_choices(known)}"


def build(node: Mapping[str, Any], *missing: Any) -> Any:
    """Build the part that a ``_target_`` node describes.

    Args:
        node: node of the configuration.
        missing: further positional arguments of a ``_partial_`` node; without them the result is a function of these.

    Raises:
        SegtrainError: the part refuses its settings.
    """
    try:
        part = instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, SegtrainError):
            raise error.__cause__ from None
        inner = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else "settings"
        raise SegtrainError(f"{node['_target_']}: {inner}: {_reason(error.__cause__ or error)}; change it") from error
    try:
        return part(*missing) if missing else part
    except (TypeError, ValueError) as error:
        raise SegtrainError(f"{node['_target_']}: {error}; change its settings") from error


def _reason(error: BaseException) -> str:
    # Albumentations checks its arguments with pydantic, whose errors list each of them.
    details = getattr(error, "errors", None) or getattr(error.__context__, "errors", None)
    if not callable(details):
        return str(error)
    return ", ".join(f"{'.'.join(map(str, d['loc']))}={d['input']}: {d['msg']}" for d in details())


def config_folder() -> Path:
    """Return the folder of the YAML files: part of an installed package, beside it in a source tree.

    >>> (config_folder() / "train.yaml").is_file()
    True
    """
    package = Path(segtrain.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def own_folders() -> list[Path]:
    """List the folders of the user's own options in the working directory: ``conf``, or none."""
    return [path for path in (Path("conf"),) if path.is_dir()]


def import_beside_options() -> None:
    """Let Python find packages of the working directory too, where it holds the user's own options.

    They come last, so that they never take the place of installed ones.
    """
    here = str(Path.cwd())
    if own_folders() and here not in sys.path:
        sys.path.append(here)


def read_yaml(path: Path) -> Node:
    """Read a node from a configuration file.

    Args:
        path: path of a file without interpolations and defaults.

    Raises:
        SegtrainError: the file does not hold a mapping.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        raise SegtrainError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(content, dict):
        raise SegtrainError(f"{path}: holds no mapping; give a file such as configs/segmenter/threshold_otsu.yaml")
    return {str(key): value for key, value in content.items()}


def as_yaml(node: Mapping[str, Any]) -> str:
    """Format a node as the text of a configuration file."""
    return OmegaConf.to_yaml(dict(node))


def check_targets(config: Mapping[str, Any]) -> None:
    """Check the arguments of every ``_target_`` node, before anything is built.

    Raises:
        SegtrainError: an argument is unknown, missing or, for a part of segtrain, of a wrong type; all are listed.
    """
    if problems := list(find_argument_problems(config)):
        raise SegtrainError("; ".join(problems))


def accepts(node: Mapping[str, Any], argument: str) -> bool:
    """Return True if the ``_target_`` of a node has an argument of this name."""
    return argument in inspect.signature(get_object(node["_target_"])).parameters


def built_class(node: Mapping[str, Any]) -> type | None:
    """Return the class that the ``_target_`` of a node builds: the target itself, or its annotated return type.

    >>> built_class({"_target_": "segtrain.values.describe_value"})
    <class 'str'>
    """
    target = get_object(node["_target_"])
    found = target if inspect.isclass(target) else get_type_hints(target).get("return")
    return found if inspect.isclass(found) else None


def require_own_targets(config: object, source: str, trust: Sequence[str] = ()) -> None:
    """Refuse parts that neither segtrain nor a trusted package defines.

    A configuration out of a file is code: every ``_target_`` in it will be imported and called.

    Args:
        config: plain values.
        source: path of the file, for the message.
        trust: packages or modules that the user trusts, such as ``my_package``; never taken from the file.

    Raises:
        SegtrainError: a part is of another package; the message names it.
    """
    allowed = ("segtrain", *trust)
    for path, node in target_nodes(config):
        name = node["_target_"]
        try:
            # No code of other packages is imported.
            module = getattr(get_object(name), "__module__", None) if _lies_in(name, allowed) else None
        except (ImportError, ValueError):
            module = None
        if not _lies_in(module, allowed):
            raise SegtrainError(
                f"{source}: its config asks to run {name!r} ({path}), which is not part of segtrain; do not use this "
                f"file unless you know who made it{_how_to_trust(name)}"
            )


def _lies_in(name: object, packages: Sequence[str]) -> bool:
    return isinstance(name, str) and any(name == package or name.startswith(f"{package}.") for package in packages)


def _how_to_trust(name: object) -> str:
    package = name.partition(".")[0] if isinstance(name, str) else ""
    if not package.isidentifier() or package == "segtrain" or package in sys.stdlib_module_names:
        return ""
    options = f"'trust=[{package}]' (--trust {package} for predict and export)"
    return f", and then name the package on the command line: {options}"


def find_argument_problems(config: Mapping[str, Any], changed: Collection[str] | None = None) -> Iterator[str]:
    """Find wrong arguments of the ``_target_`` nodes of a configuration; see `check_node`.

    Args:
        config: plain values.
        changed: dotted keys; None to check all nodes, otherwise only those that hold such a key, or that lie below one.

    Yields:
        One line for each wrong argument.
    """
    for path, node in target_nodes(config):
        if changed is None or any(holds_change(path, key) for key in changed):
            yield from check_node(path, node)


def holds_change(path: str, key: str) -> bool:
    """Return True if a change of a key may change the value at a path: one of the two contains the other.

    >>> holds_change("optimizer", "optimizer.lr"), holds_change("optimizer", "seed")
    (True, False)
    """
    return f"{path}.".startswith(f"{key}.") or f"{key}.".startswith(f"{path}.")


def flat_settings(config: Mapping[str, Any], path: str = "", ignored: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings of a configuration by their dotted keys.

    Args:
        config: plain values.
        path: dotted key of the configuration itself, with a dot at its end; "" for a whole one.
        ignored: dotted keys of settings, or of groups of them, to leave out.

    >>> config = {"optimizer": {"lr": 0.1}, "logger": {"every": 5}, "seed": 0}
    >>> flat_settings(config, ignored=["logger"])
    {'optimizer.lr': 0.1, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            found |= flat_settings(value, f"{name}.", ignored)
        elif not any(holds_change(name, other) for other in ignored):
            found[name] = value
    return found
