"""The words at the end of a run, on curves whose shape is known."""

import json
from pathlib import Path

from segtrain.training.fit_words import describe_fit
from segtrain.training.run_history import RunHistory


def run(loss: list[float], validation: list[float], ap: list[float]) -> RunHistory:
    """Make a run of 100 steps and 10 minutes with curves of evenly spaced values."""

    def spaced(values: list[float]) -> list[tuple[int, float]]:
        return [(round(100 * (n + 1) / len(values)), value) for n, value in enumerate(values)]

    names = {"train/loss": loss, "validation/loss": validation, "validation/mask_ap": ap, "train/minutes": [5.0, 10.0]}
    return RunHistory({name: spaced(values) for name, values in names.items()})


FALLING = [2 - 0.018 * n for n in range(100)]


def test_overfitting_is_a_validation_loss_that_rises_while_training_goes_on_to_fall() -> None:
    (words,) = describe_fit(run(FALLING, [1.5, 1.0, 1.1, 1.3, 1.6], [0.3, 0.4, 0.41, 0.4, 0.38]))
    assert words.startswith("Overfitting: since step 40 the loss of the validation images has risen by 60%")
    noise = describe_fit(run(FALLING, [1.5, 1.0, 1.04, 1.0, 1.04], [0.3, 0.4, 0.41, 0.4, 0.38]))
    assert "Overfitting" not in " ".join(noise)
    diverged = describe_fit(run(FALLING[::-1], [1.5, 1.0, 1.1, 1.3, 1.6], [0.3, 0.4, 0.41, 0.4, 0.38]))
    assert "Overfitting" not in " ".join(diverged)


def test_a_rising_quality_asks_for_more_time() -> None:
    (words,) = describe_fit(run(FALLING, [1.5, 1.2, 1.1, 1.0], [0.1, 0.2, 0.3, 0.4]))
    assert words == (
        "Mask AP still rose by 0.100 in the last 2.5 min of training: another 5 minutes would probably help."
    )


def test_a_quality_that_stands_still_does_not() -> None:
    (words,) = describe_fit(run([1.0] * 100, [1.0] * 4, [0.3, 0.4, 0.4, 0.402]))
    assert "a longer training would probably bring little" in words
    (words,) = describe_fit(run(FALLING, [1.0] * 4, [0.3, 0.4, 0.4, 0.402]))
    assert words.startswith("The training loss still falls")


def test_a_network_that_finds_nothing_is_not_judged() -> None:
    (words,) = describe_fit(run(FALLING, [2.0, 1.9], [0.0, 0.001]))
    assert words.endswith("(mask AP 0.001): this says little; train longer.")


def test_a_single_validation_leaves_the_training_loss() -> None:
    third, fourth = (sum(FALLING[part]) / 25 for part in (slice(50, 75), slice(75, 100)))
    (words,) = describe_fit(run(FALLING, [1.0], [0.3]))
    assert words.startswith(f"The training loss still fell by {1 - fourth / third:.0%} in the last quarter")
    assert words.endswith("it is not known whether mask AP still rose.")
    assert describe_fit(run([1.0] * 100, [1.0], [0.3])) == []
    (words,) = describe_fit(run(FALLING, [1.0], [0.004]))
    assert words.startswith("Hardly any object")
    assert describe_fit(run(FALLING, [], [])) == []
    few = RunHistory({"train/loss": [(n, 1 / n) for n in range(1, 13)], "validation/mask_ap": [(12, 0.3)]})
    assert describe_fit(few) == []  # a quarter is three batches


def test_a_history_is_what_a_run_has_written(tmp_path: Path) -> None:
    lines = [{"step": 10, "train/minutes": 1.0, "train/loss": None}, {"step": 20, "train/minutes": 2.0}, [], {"a": 1}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 30, "tr')
    history = RunHistory.read(tmp_path)
    assert history.series == {"train/minutes": [(10, 1.0), (20, 2.0)]}
    assert [history.minutes_at(step) for step in (0, 5, 15, 20, 99)] == [0.0, 0.5, 1.5, 2.0, 2.0]
    assert RunHistory.read(tmp_path / "other").series == {}
