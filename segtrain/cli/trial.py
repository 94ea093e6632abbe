"""Trial construction of the parts of a run, which finds refused settings before any data are read."""

import inspect
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from hydra.utils import get_object

from segtrain.errors import SegtrainError
from segtrain.nodes import Node, build, find_argument_problems, holds_change, target_nodes
from segtrain.values import check_value

# Packages whose parts need torchvision.
_NEED_TORCHVISION = ("segtrain.segmenters.mask_rcnn.", "segtrain.training.", "segtrain.data.augmentation.")


def find_refusals(config: Mapping[str, Any], changed: Collection[str] | None = None) -> Iterator[str]:
    """Build parts of a configuration, and yield the settings that they refuse, one line each.

    Parts whose arguments do not bind are skipped. Building parts of a training imports PyTorch.

    Args:
        config: plain, resolved values of a root.
        changed: dotted keys; None to build all parts, otherwise those only that hold such a key.
    """
    trials: dict[str, Callable[[Node], object]] = {}
    if "trainer" in config:
        trials = {"trainer": build, "schedule": build, "augmentation": build, "optimizer": _build_optimizer}
        if config["resume"]["path"] is None:  # the weights that a resumed run began with may be gone
            trials["segmenter"] = _check_network
    for name, attempt in trials.items():
        tried = changed is None or any(holds_change(name, key) for key in changed)
        if tried and not any(find_argument_problems({name: config[name]})):
            yield from _refusal(attempt, config[name])
    if changed is None:
        yield from _refusal(_check_device, config["device"])


def check_torchvision(config: Node) -> None:
    """Import torchvision, whose compiled part fits one build of PyTorch only, if a run needs it.

    Args:
        config: configuration of the run; torchvision is imported only if a network needs it, since it takes 160 MB.

    Raises:
        SegtrainError: it was built for another PyTorch than the one that is installed.
    """
    if not any(node["_target_"].startswith(_NEED_TORCHVISION) for _, node in target_nodes(config)):
        return
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
        raise SegtrainError(
            f"torchvision cannot be imported ({error}): {versions} come from different builds; install both from one "
            "source: pip install --force-reinstall torch torchvision"
        ) from error


def _refusal(attempt: Callable[[Any], object], setting: Any) -> Iterator[str]:
    try:
        with warnings.catch_warnings(action="ignore"):  # they are given when the run builds the part
            attempt(setting)
    except SegtrainError as error:
        yield str(error)


def _build_optimizer(node: Node) -> None:
    """Build an optimizer of two parameters, a kernel and a bias."""
    import torch

    from segtrain.training.learner import parameter_groups

    # Text in place of a number, which PyTorch compares with numbers unchecked.
    for name, parameter in inspect.signature(get_object(node["_target_"])).parameters.items():
        if isinstance(parameter.default, float) and isinstance(node.get(name), str):
            for problem in check_value(f"optimizer.{name}", node[name], float):
                raise SegtrainError(problem)
    build(node, parameter_groups(torch.nn.ParameterList([torch.ones(1, 1), torch.ones(1)])))


def _check_network(node: Node) -> None:
    from segtrain.training.checkpoint import check_trainable

    check_trainable(node)


def _check_device(name: str) -> None:
    if name in ("auto", "cpu"):  # every machine has one
        return
    from segtrain.device import resolve_device

    resolve_device(name)
