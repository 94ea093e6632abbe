"""Search spaces: a segmenter node, and a tree like it with a list of values at each leaf."""

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
    """A setting that is varied.

    Attributes:
        path: the keys that lead to it in the node.
        values: to choose from.
    """

    path: tuple[str, ...]
    values: Sequence[Any]

    @property
    def name(self) -> str:
        """The path with dots."""
        return ".".join(self.path)

    @property
    def ordered(self) -> bool:
        """Whether the values are rising numbers, so that neighbours are alike."""
        numbers = [v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)


@dataclass(frozen=True)
class Candidate:
    """A segmenter whose settings are varied.

    Attributes:
        name: among the candidates of a row.
        node: its configuration, as it stands without a search.
        dimensions: what is varied.
    """

    name: str
    node: Node
    dimensions: Sequence[Dimension]

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return prod(len(dimension.values) for dimension in self.dimensions)

    def with_values(self, values: Sequence[Any]) -> Node:
        """The node with a value for each dimension."""
        node = self.node
        for dimension, value in zip(self.dimensions, values, strict=True):
            node = _replaced(node, dimension.path, value)
        return node

    def grid(self) -> list[Node]:
        """The nodes of all combinations, in the order of the lists."""
        return [self.with_values(values) for values in product(*(d.values for d in self.dimensions))]

    def own_values(self) -> list[Any]:
        """What the node itself says for each dimension."""
        return [_value(self.node, dimension.path) for dimension in self.dimensions]


def candidates(nodes: Mapping[str, Node], spaces: Mapping[str, Mapping[str, Any]]) -> list[Candidate]:
    """Candidates and what is varied of each; every value is held against the signature that takes it.

    Args:
        nodes: segmenters by name.
        spaces: for each of these names a tree of the node's keys with lists of values at its leaves.

    Raises:
        SegtrainError: a space names no candidate or no key of its node, is no list, or holds a value of a wrong type.
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
    """The segmenter that a node stands for."""
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
