"""Limits of one account over HTTP, with the people of the accounts' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accounts import own_limits
from tests.accounts.conftest import _memory_layer, clock, limits, told  # noqa: F401 - fixtures


@pytest.fixture(autouse=True)
def _classes() -> Iterator[None]:
    """What this process keeps of classes ends with the test, as its rows do."""
    yield
    own_limits.forget_classes()


@pytest.fixture(autouse=True)
def _lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to the lanes is dropped, for no worker runs beside these tests."""
    monkeypatch.setattr("delivery.changes._tell", lambda entry: None)
