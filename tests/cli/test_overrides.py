"""Arguments that segtrain writes for others to type: Hydra reads from them what was meant."""

from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from segtrain.benchmark.checkpoints import checkpoint_argument
from segtrain.cli.config import register_schemas
from segtrain.cli.overrides import about_data, compose
from segtrain.nodes import config_folder, quote_override

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


def test_keys_that_set_a_value_are_the_same_with_and_without_a_mistake(tmp_path: Path) -> None:
    register_schemas()
    place = f"hydra.searchpath=[{quote_override(f'file://{tmp_path}')}]"
    arguments = [
        "experiment=nuclei",
        "trainer.max_steps=3",
        place,
        "hydra/job_logging=disabled",
        "+data.x=1",
        "seed=3",
    ]
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        _, mistakes, changed = compose("train", arguments)
        assert not mistakes
        assert sorted(changed) == ["data.x", "seed", "trainer.max_steps"]
        _, mistakes, others = compose("train", [*arguments, "sed=1"])
    assert len(mistakes) == 1
    assert sorted(others) == sorted(changed)
