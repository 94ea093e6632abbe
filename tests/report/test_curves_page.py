"""The page of training curves: every number is drawn, and nothing that is no curve."""

from segtrain.report.curves_page import curves_page
from segtrain.training.run_history import RunHistory


def history(validations: int, terms: int = 1, steps: int = 500) -> RunHistory:
    series = {f"train/loss{f'_{n}' * (n > 0)}": [(s, 3 / (s + 1)) for s in range(steps)] for n in range(terms + 1)}
    series |= {"train/learning_rate": [(s, 1e-3) for s in range(steps)], "train/minutes": [(steps, 4.0)]}
    return RunHistory(
        series
        | {
            f"validation/{name}": [(100 * n, 0.1 * n) for n in range(1, validations + 1)]
            for name in ("loss", "mask_ap")
        }
    )


def test_one_run_shows_training_beside_validation() -> None:
    page = curves_page({"mine": history(3)})
    assert page.count("<h3>") == 5  # two losses, mask AP over steps and over minutes, learning rate
    assert 'data-series="training"' in page
    assert 'data-series="validation"' in page
    assert "Overfitting: since step 100" in page


def test_a_single_validation_is_a_number_and_no_curve() -> None:
    page = curves_page({"mine": history(1)})
    assert "mask AP over time" not in page
    assert "<td>0.100</td>" in page
    assert 'data-series="validation"' not in page


def test_several_runs_share_their_charts_by_name() -> None:
    page = curves_page({"a<b": history(3), "other": history(3, terms=2)})
    assert "2 training runs" in page
    assert page.count('data-series="other"') == 7 + 3  # curves, and a legend for each section
    assert "a<b" not in page
    assert "a&lt;b" in page


def test_a_long_run_stays_small() -> None:
    assert len(curves_page({"mine": history(40, terms=5, steps=20_000)})) < 150_000
