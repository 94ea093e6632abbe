"""Search spaces: the configuration of a segmenter, and a tree with a list of values for each varied setting."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from segtrain.errors import SegtrainError
from segtrain.nodes import build, check_targets, nearest
from segtrain.segmenters import Segmenter

Node = dict[str, Any]


@dataclass(frozen=True)
class Dimension:
    """Setting that is varied.

    Attributes:
        path: keys that lead to the setting in the node.
        values: values to choose from.
    """

    path: tuple[str, ...]
    values: Sequence[Any]

    @property
    def name(self) -> str:
        """Path in dotted form."""
        return ".".join(self.path)

    @property
    def ordered(self) -> bool:
        """True if the values are numbers in increasing order, so that neighbours are alike."""
        numbers = [v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)


@dataclass(frozen=True)
class Candidate:
    """Segmenter whose settings are varied.

    Attributes:
        name: name among the candidates of a method.
        node: configuration with its own settings.
        dimensions: settings that are varied.
    """

    name: str
    node: Node
    dimensions: Sequence[Dimension]

    @property
    def size(self) -> int:
        """Number of combinations of values."""
        return prod(len(dimension.values) for dimension in self.dimensions)

    def with_values(self, values: Sequence[Any]) -> Node:
        """Return the node with the given value of each dimension."""
        node = self.node
        for dimension, value in zip(self.dimensions, values, strict=True):
            node = _replaced(node, dimension.path, value)
        return node

    def grid(self) -> list[Node]:
        """List the nodes of all combinations, in the order of the lists of values."""
        return [self.with_values(values) for values in product(*(d.values for d in self.dimensions))]

    def own_values(self) -> list[Any]:
        """List the node's own value of each dimension."""
        return [_value(self.node, dimension.path) for dimension in self.dimensions]


def candidates(nodes: Mapping[str, Node], spaces: Mapping[str, Mapping[str, Any]]) -> list[Candidate]:
    """Combine segmenters with their search spaces; every value is checked against the signature that takes it.

    Args:
        nodes: configurations of segmenters by name.
        spaces: search spaces by the same names: trees of the node's keys with lists of values at the leaves.

    Raises:
        SegtrainError: a space names no candidate or no key of its node, is no list, or holds a value of a wrong type.

    >>> node = {
    ...     "_target_": "segtrain.segmenters.classical.threshold.multi",
    ...     "_partial_": True,
    ...     "low": 0.1,
    ...     "high": 0.3,
    ... }
    >>> found = candidates({"levels": node}, {"levels": {"low": [0.1, 0.2], "high": [0.3, 0.4, 0.5]}})
    >>> found[0].size, found[0].grid()[1]["high"]
    (6, 0.4)
    """
    if unknown := [name for name in spaces if name not in nodes]:
        raise SegtrainError(f"space.{unknown[0]}: no such candidate; {nearest(unknown[0], list(nodes))}")
    found = [Candidate(name, node, list(_dimensions(name, node, spaces.get(name, {})))) for name, node in nodes.items()]
    if not found:
        raise SegtrainError("candidates: there is none; name at least one segmenter")
    for candidate in found:
        for dimension in candidate.dimensions:
            for value in dimension.values:
                check_targets({candidate.name: _replaced(candidate.node, dimension.path, value)})
    return found


def build_segmenter(node: Node) -> Segmenter:
    """Build the segmenter of a node."""
    segmenter: Segmenter = build(node)
    return segmenter


def _dimensions(name: str, node: Any, space: Any, path: tuple[str, ...] = ()) -> Iterator[Dimension]:
    where = ".".join(("space", name, *path))
    if isinstance(space, Mapping):
        for key, inner in space.items():
            if not isinstance(node, Mapping) or key not in node:
                known = list(map(str, node)) if isinstance(node, Mapping) else []
                raise SegtrainError(f"{where}.{key}: the candidate has no such key; {nearest(str(key), known)}")
            yield from _dimensions(name, node[key], inner, (*path, key))
    elif isinstance(space, list) and space:
        yield Dimension(path, space)
    else:
        raise SegtrainError(f"{where}={space}: not a list of values to try; give one, such as [0, 1]")


def _value(node: Any, path: Sequence[str]) -> Any:
    for key in path:
        node = node[key]
    return node


def _replaced(node: Node, path: Sequence[str], value: Any) -> Node:
    key, *rest = path
    return {**node, key: _replaced(node[key], rest, value) if rest else value}
