"""A process at the wrong store is told so: when it starts, and while it runs."""

from __future__ import annotations

import pytest

from delivery.store.moving import COMPARED, COPYING, FENCED, FINAL, MOVED, RETURNING
from delivery.whereabouts import judge

STATES = ("", COPYING, FENCED, COMPARED, MOVED, RETURNING, FINAL)


@pytest.mark.parametrize(
    ("store", "events", "right"),
    [
        ("postgres", True, {"", COPYING, FENCED, COMPARED}),
        ("postgres", False, {"", COPYING, FENCED, COMPARED}),
        ("cassandra", True, {MOVED, FINAL}),
        ("cassandra", False, {"", MOVED, FINAL}),
    ],
)
def test_which_store_is_right_in_which_state(store: str, events: bool, right: set[str]) -> None:
    assert {state for state in STATES if not judge(store, state, events)} == right


def test_it_is_said_what_to_do() -> None:
    assert "start with LOG_STORE=cassandra" in judge("postgres", MOVED, True)
    assert "start with LOG_STORE=postgres, or move it" in judge("cassandra", COPYING, False)
    assert "wait for manage.py move_log" in judge("cassandra", FENCED, True)
