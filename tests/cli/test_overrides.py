"""Arguments that segtrain writes for others to type: Hydra reads from them what was meant."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segtrain.benchmark.checkpoints import checkpoint_argument
from segtrain.cli.overrides import about_data
from segtrain.nodes import quote_override

NAMES = [
    "plain",
    "it's",
    "a, b",
    "{a}",
    "(a)",
    "a=b",
    "#1",
    "müller",
    "日本",
    r"back\slash",
    r"end\'",
    "${a}",
    r"\${a}",
    " ",
]


def read(argument: str) -> object:
    """What the configuration would hold."""
    (parsed,) = OverridesParser.create().parse_overrides([argument])
    return OmegaConf.to_container(OmegaConf.create({"value": parsed.value()}), resolve=True)["value"]  # type: ignore[index, call-overload]


@given(st.text(st.characters(exclude_categories=["C"])))
@example("".join(NAMES))
@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_path_is_read_as_it_is(name: str, more: str) -> None:
    path = f"/{name}/{more}"
    assert read(f"key={quote_override(path)}") == path
    assert read(f"key=[{quote_override(path)}]") == [path]


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_that_was_found_can_be_named(name: str) -> None:
    path = Path("/runs", name, "best.pt")
    (argument,) = checkpoint_argument(path, None)
    assert argument.startswith("checkpoint=")
    assert read(argument) == str(path)


def test_plain_paths_are_not_quoted() -> None:
    assert checkpoint_argument(Path("/runs/a-b_1/best.pt"), None) == ["checkpoint=/runs/a-b_1/best.pt"]
    assert checkpoint_argument(Path("/runs/a/best.pt"), "runs/a/best.pt") == []


def test_what_is_about_the_data() -> None:
    own = ["data=coco", "data.root='/a, b'", "++data.val_images=x", "~data.generator", "checkpoint=[a.pt,b.pt]"]
    others = ["methods=all", "output_dir=data", "+database.x=1", "tune.images=2", "segmenters.data.x=1"]
    assert about_data([*others[:2], *own, *others[2:]]) == own
