"""Spaces of searches in Hydra's grammar."""

import pytest
from omegaconf import OmegaConf

from segtrain.cli.sweep_space import Dimension, read_space
from segtrain.errors import SegtrainError


def dimension(given: str) -> Dimension:
    return read_space([f"key={given}"]).dimensions[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("interval(1, 5)", ("float", 1.0, 5.0, None, False, ())),
        ("int(interval(1, 8))", ("int", 1, 8, None, False, ())),
        ("tag(log, interval(1e-4, 1e-2))", ("float", 1e-4, 1e-2, None, True, ())),
        ("tag(log, int(interval(16, 256)))", ("int", 16, 256, None, True, ())),
        ("range(1, 10, 2)", ("int", 1, 9, 2, False, ())),
        ("range(10, 1, -3)", ("int", 4, 10, 3, False, ())),
        ("range(0.5, 2, 0.5)", ("float", 0.5, 1.5, 0.5, False, ())),
        ("tag(log, range(1, 9))", ("int", 1, 8, None, True, ())),
        ("null,0.98", ("choice", 0.0, 0.0, None, False, ("0.98", "null"))),
        ("choice([1,2],[3])", ("choice", 0.0, 0.0, None, False, ("[1,2]", "[3]"))),
        ("shuffle(b,a)", ("choice", 0.0, 0.0, None, False, ("a", "b"))),
    ],
)
def test_values_are_read(given: str, expected: tuple[object, ...]) -> None:
    found = dimension(given)
    assert (found.kind, found.low, found.high, found.step, found.log, found.choices) == expected


def test_the_last_override_of_a_key_counts() -> None:
    space = read_space(["a=1,2", "b=interval(0, 1)", "b=0.5", "+c=x"])
    assert [found.key for found in space.dimensions] == ["a"]
    assert space.fixed == ("b=0.5", "+c=x")
    assert space.given == ["b=0.5", "+c=x", "a=1,2"]


@pytest.mark.parametrize(
    ("given", "own", "place"),
    [
        ("tag(log, interval(1e-4, 1e-2))", 1e-3, 1e-3),
        ("interval(0, 1)", 2, None),
        ("interval(0, 1)", None, None),
        ("range(1, 10, 2)", 3, 3),
        ("range(1, 10, 2)", 4, None),
        ("int(interval(1, 8))", 2.5, None),
        ("null,0.98", 0.98, "0.98"),
        ("null,0.98", None, "null"),
        ("true,false", True, "True"),
        ("[1,2],[3]", [3], "[3]"),
        ("a,b", "c", None),
    ],
)
def test_the_presets_own_value_is_found(given: str, own: object, place: object) -> None:
    config = OmegaConf.create({"key": own, "hydra": {"runtime": {"choices": {}}}})
    assert read_space([f"key={given}"]).own_values(config) == {"key": place}


def test_the_option_of_a_group_is_its_value() -> None:
    config = OmegaConf.create({"key": {"p": 1}, "hydra": {"runtime": {"choices": {"key": "b"}}}})
    assert read_space(["key=a,b"]).own_values(config) == {"key": "b"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("interval(2, 1)", "lower end first"),
        ("range(3, 3)", "lower end first"),
        ("tag(log, interval(0, 1))", "above 0"),
        ("tag(log, range(1, 9, 2))", "no steps"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(given: str, said: str) -> None:
    with pytest.raises(SegtrainError, match=said):
        dimension(given)


def test_drawn_values_have_four_digits_and_stay_inside() -> None:
    found = dimension("interval(0.12344, 0.2)")
    assert found.override(0.1234412) == "key=0.12344"
    assert found.override(0.18765432) == "key=0.1877"
    assert dimension("a,'b c'").override("'b c'") == "key='b c'"
