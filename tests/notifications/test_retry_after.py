"""The header Retry-After, as seconds and as a date."""

from __future__ import annotations

import email.utils

import pytest

from notifications.senders.retry_after import retry_after_ms
from whatsapp.infra import clock


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (None, None), ("", None), ("0", 0), ("17", 17_000), ("3600", 3_600_000), ("3601", 3_600_000), ("9" * 400, 3_600_000),
        ("-1", None), ("1.5", None), ("²", None), ("soon", None), ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600_000), ("Fri, 99 Dec 2027 23:59:59 GMT", None),
    ],
)  # fmt: skip
def test_what_is_asked_for(value: str | None, milliseconds: int | None) -> None:
    assert retry_after_ms(value, clock.now_ms()) == milliseconds


def test_a_date_is_counted_from_now() -> None:
    value = email.utils.formatdate(clock.now_ms() / 1_000 + 120, usegmt=True)
    found = retry_after_ms(value, clock.now_ms())
    assert found is not None
    assert 60_000 < found <= 120_000
