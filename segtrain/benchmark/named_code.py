"""Code outside this package that a configuration names, with the modules that it imports."""

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

_CODE = frozenset([".py", ".so", ".pyd"])  # endings of files that hold code
_INSTALLED = frozenset(["site-packages", "dist-packages"])  # folders that an installer writes to


def code_behind(targets: Sequence[str]) -> dict[str, dict[str, Path | str]]:
    """List the code outside this package and the standard library that functions and classes depend on.

    Imports are followed, also those of modules that are not loaded yet. Installed distributions that are imported count
    by their versions; packages that a target is in count by their files, since its author may have changed them without
    a new version.

    Args:
        targets: dotted names of the functions and classes.

    Returns:
        By the name of each package or top-level module either its files, by their places in it, or the versions of its
        distributions. A target whose file is not known, such as a function of a notebook, has a text that never
        repeats.

    >>> code_behind(["segtrain.masks.encode", "math.sqrt"])
    {}
    """
    named = {name.partition(".")[0] for name in targets}
    found: dict[str, dict[str, Path | str]] = {}
    waiting = sorted(named)
    while waiting:
        name = waiting.pop()
        if name in found or name == "segtrain" or name in sys.stdlib_module_names:
            continue
        files = _files(name)
        installed = all(_INSTALLED & set(path.parts) for path in files.values())
        if installed and name not in named and (versions := _versions(name)):
            found[name] = versions
        elif files:
            found[name] = dict(files)
            waiting += [other for path in files.values() if path.suffix == ".py" for other in _imported(path)]
        elif name in named:
            found[name] = {"": uuid4().hex}
    return found


def _files(name: str) -> dict[str, Path]:
    """List the files with code of a package or top-level module by their places in it; none if it is not known."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # the script that is run has no specification
        spec = None
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    if not folders:
        alone = Path((getattr(sys.modules.get(name), "__file__", None) if spec is None else spec.origin) or "")
        return {alone.name: alone} if alone.is_file() else {}
    return {path.relative_to(folder).as_posix(): path for folder in folders for path in _below(folder)}


def _below(folder: Path) -> list[Path]:
    """List the files with code below a folder, which may hold a million others, such as images."""
    found = ((place, name) for place, _, names in os.walk(folder) for name in names)
    return sorted(Path(place, name) for place, name in found if os.path.splitext(name)[1] in _CODE)  # noqa: PTH122


def _versions(name: str) -> dict[str, Path | str]:
    """Return the versions of the distributions that a package is from; none if it is from no distribution."""
    return {own: version(own) for own in _distributions().get(name, ())}


@cache
def _distributions() -> dict[str, list[str]]:
    return {name: sorted(set(own)) for name, own in packages_distributions().items()}


def _imported(path: Path) -> Iterator[str]:
    """Yield the names of the packages and top-level modules that a file imports, wherever in it."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # no module of this Python, such as a template
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
