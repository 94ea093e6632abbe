"""Fixtures of the tests of conversions."""

import pytest

from segtrain.convert import convert_command


@pytest.fixture
def checked() -> None:
    """Let conversions end with the check, as they do."""


@pytest.fixture(autouse=True)
def _unchecked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the check out, which takes longer than the conversion, where a test does not ask for it."""
    if "checked" not in request.fixturenames:
        monkeypatch.setattr(convert_command, "check", lambda arguments: 0)
