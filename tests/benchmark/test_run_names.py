"""Names of runs by what differs between them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrain.benchmark.run_names import common_name, differing_settings, name_runs, setting_text

ABSENT = "–"


def names(*configs: dict[str, Any]) -> list[str]:
    paths = [Path(f"/runs/r{number}/checkpoints/best.pt") for number in range(len(configs))]
    return name_runs(paths, differing_settings(configs))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "1e-4"), (0.0015, "0.0015"), (0.1, "0.1"), (0.998, "0.998"), (1e6, "1e6"), (0.0, "0"),
        (-2.5e-7, "-2.5e-7"), (float("inf"), "inf"), (3, "3"), (10000, "10000"), (False, "false"),
        ([[16], [0.001]], "[[16],[1e-3]]"), ("/data/weights/net.v2.pt", "net.v2.pt"), ("s3://bucket/data/", "data"),
        ('a:"b"?', "a-b-"), ("x" * 40, "x" * 31 + "…"),
    ],
)  # fmt: skip
def test_values_are_short_and_may_be_part_of_the_name_of_a_file(value: object, text: str) -> None:
    assert setting_text(value) == text


def test_what_is_the_same_or_changes_no_result_is_no_part_of_a_name() -> None:
    runs = [
        {"optimizer": {"lr": lr, "eps": 1}, "output_dir": f"/runs/{lr}", "trainer": {"log_every": lr}, "threads": lr}
        for lr in (0.001, 0.0002)
    ]
    assert names(*runs) == ["lr 1e-3", "lr 2e-4"]


def test_keys_that_end_alike_are_written_out() -> None:
    runs = [{"optimizer": {"lr": n}, "head": {"lr": 1 - n}, "seed": n, "crop": {"p": n}} for n in (0, 1)]
    assert names(*runs)[0] == "optimizer.lr 0 · head.lr 1 · crop.p 0 · seed 0"


def test_a_setting_that_a_run_lacks_is_said() -> None:
    assert names({"patience": 3}, {}) == ["patience 3", "no patience"]
    optimizers = [{"optimizer": {"_target_": f"torch.optim.{name}"}} for name in ("SGD", "AdamW")]
    assert names(*optimizers) == ["optimizer SGD", "optimizer AdamW"]


def test_of_many_settings_as_few_as_needed_are_named() -> None:
    small = {"segmenter": {"architecture": "resnet18", "width": 8, "depth": 2, "scale": 1}, "augmentation": {"p": 0}}
    large = {"segmenter": {"architecture": "resnet50", "width": 16, "depth": 4, "scale": 2}, "augmentation": {"p": 1}}
    assert names(small, large) == ["architecture resnet18", "architecture resnet50"]
    slow = {**large, "augmentation": {"p": 2}}
    assert names(small, large, slow, {**slow, "seed": 1})[2:] == [
        "augmentation.p 2 · no seed", "augmentation.p 2 · seed 1"
    ]  # fmt: skip


def test_runs_without_a_difference_are_named_by_their_folders() -> None:
    assert names({"seed": 0}, {"seed": 0}) == ["r0", "r1"]
    assert names({"lr": 1.0}, {"lr": 1.0}, {"lr": 2.0}) == ["lr 1 · r0", "lr 1 · r1", "lr 2"]
    long = [{"weights": "w" * 50 + end} for end in ("a", "b")]
    assert names(*long) == [f"weights {'w' * 31}… · r0", f"weights {'w' * 31}… · r1"]


def test_the_seeds_of_a_configuration_share_the_rest_of_the_name() -> None:
    assert common_name(["net · lr 1 · seed 0 · a", "net · lr 1 · seed 1 · b"]) == "net · lr 1"


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.text(max_size=40), st.lists(st.text()))
CONFIGS = st.lists(
    st.dictionaries(st.sampled_from(["a.lr", "b.lr", "seed", "p", "x._target_", "y"]), VALUES, max_size=6),
    min_size=2, max_size=5,
)  # fmt: skip


@given(CONFIGS)
def test_no_two_runs_have_one_name_and_each_is_that_of_a_file(configs: list[dict[str, Any]]) -> None:
    found = names(*configs)
    assert len({name.casefold() for name in found}) == len(configs)
    assert all(name and not set(name) & set('/\\<>:"|?*\n\0') and len(name.encode()) < 1000 for name in found)
