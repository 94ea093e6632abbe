"""Text of a report: formatting of numbers, lists and p-values, the same for every medium."""

import math
from collections.abc import Sequence

from segtrain.metrics.bootstrap import CLEAR

MISSING = "–"
DECIMALS = 3  # of every metric, wherever it is shown
_SMALLEST_P = 0.001  # smaller p-values are not distinguished


def number_text(value: float | None, decimals: int = DECIMALS, scale: float = 1.0, *, signed: bool = False) -> str:
    """Format a number for a table, a tooltip or a sentence.

    Args:
        value: number; None is shown as a dash.
        decimals: digits after the decimal point.
        scale: factor that the number is multiplied by before it is shown.
        signed: show the sign of positive numbers too, and a true minus sign.

    >>> number_text(0.5), number_text(-0.0001), number_text(-0.25, 2, signed=True), number_text(None)
    ('0.500', '0.000', '−0.25', '–')
    """
    if value is None:
        return MISSING
    rounded = round(value * scale, decimals) + 0.0  # no "-0.000"
    text = f"{rounded:{'+' if signed else ''}.{decimals}f}"
    return text.replace("-", "−") if signed else text


def join_words(words: Sequence[str], most: int | None = None) -> str:
    """Join words to an enumeration.

    Args:
        words: words to join, at least one.
        most: number of words to name; the others are counted. A single remaining word is named.

    >>> join_words(["a"]), join_words(["a", "b", "c"]), join_words(["a", "b", "c", "d"], most=2)
    ('a', 'a, b and c', 'a, b and 2 more')
    """
    if most is not None and len(words) > most + 1:
        return f"{', '.join(words[:most])} and {len(words) - most:,} more"
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def sentence(text: str) -> str:
    """Begin with a capital letter, unless the first word is the name of a row or a setting, and end with a full stop.

    Args:
        text: a sentence. A first word with a colon, or with other characters than letters and hyphens, is a name.

    >>> sentence("no pixel is shared"), sentence("kmeans: no score"), sentence("data.exif=ignore helps.")
    ('No pixel is shared.', 'kmeans: no score.', 'data.exif=ignore helps.')
    """
    first = text.partition(" ")[0].replace("-", "").removesuffix(",")
    begin = text[:1].upper() if first.isalpha() else text[:1]
    return f"{begin}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def p_text(p: float, least: float | None = None) -> str:
    """Format a p-value; rounding never moves it to the other side of 0.05.

    Args:
        p: p-value in (0, 1].
        least: smallest p-value that the number of resamples can give; None if it is not known.

    >>> p_text(0.0002), p_text(0.012, least=0.012), p_text(0.69)
    ('< 0.001', '≤ 0.012', '0.69')
    """
    if p < _SMALLEST_P:
        return f"< {_SMALLEST_P}"
    decimals = 3 if p < 0.1 else 2
    bound = least is not None and p <= least and p < 1
    rounded = math.ceil(p * 10**decimals - 1e-9) / 10**decimals if bound else round(p, decimals)
    if p < CLEAR <= rounded:
        return f"< {CLEAR}"
    return f"{'≤ ' if bound else ''}{rounded:.{decimals}f}"


def p_phrase(p: float, least: float | None = None) -> str:
    """Format a p-value for a sentence, see ``p_text``.

    Args:
        p: p-value in (0, 1].
        least: smallest p-value that the number of resamples can give; None if it is not known.
    """
    text = p_text(p, least)
    return f"p = {text}" if text[0].isdigit() else f"p {text}"


def time_text(seconds: float) -> str:
    """Format a time in the unit that suits it.

    >>> time_text(0.0254), time_text(2.5)
    ('25.4 ms', '2.5 s')
    """
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"


def fact_text(value: object) -> str:
    """Format a fact of the environment or of a checkpoint: floats with few digits, everything else as it is."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def range_text(low: str, high: str) -> str:
    """Format a range with open ends: ``up to b``, ``above a``, ``a to b``; empty if both ends are open.

    Args:
        low: lower end; empty if open.
        high: upper end; empty if open.
    """
    if low and high:
        return f"{low} to {high}"
    return f"up to {high}" if high else f"above {low}" if low else ""
