"""How much room words take in a figure."""

import unicodedata

# Pixels of a letter at 12 px in DejaVu Sans, the widest of the usual fonts; rounded up.
_LETTERS = {
    letter: width
    for letters, width in (("ijl.,:;'|! ", 4.0), ("frtI()[]/\\-", 5.0), ("ckvsxyz_", 7.1))
    for letter in letters
}
_LETTERS |= dict.fromkeys("mwMW@%…", 12.0)
_USUAL, _CAPITAL, _FULL = 7.7, 9.3, 12.0  # full: East Asian


def width_of(text: str) -> float:
    """Pixels that a text takes at most."""
    return sum(map(_letter, text))


def _letter(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return _FULL
    return _LETTERS.get(letter, _CAPITAL if letter.isupper() else _USUAL)


def fit(text: str, room: float) -> str:
    """The text, its middle left out if it is wider than that many pixels: both ends tell files apart."""
    short, kept = text, len(text)
    while width_of(short) > room and kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short
