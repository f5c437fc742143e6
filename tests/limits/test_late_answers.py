"""What was asked of an account before its limits changed, and is answered behind that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from chats import own_limits
from chats.own_limits import OwnLimits
from delivery.session import State
from tests.support.patience import until
from whatsapp.infra.limits import LIMITS

SLOWED = '{"class": "slowed", "own": null, "rows": null}'


class _Session:
    def __init__(self, user: str) -> None:
        self.user, self.state = user, State.READY
        self.limits, self.limit_class = LIMITS, ""


class _Hub:
    def __init__(self, *sessions: _Session) -> None:
        self._sessions = sessions

    def all(self) -> Sequence[_Session]:
        return self._sessions

    def of(self, user: str) -> Sequence[_Session]:
        return [session for session in self._sessions if session.user == user]


class _Accounts:
    """What PostgreSQL says now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: dict[str, str | None] = {}
        self.asked = 0
        monkeypatch.setattr(own_limits, "ask", self._ask)

    async def _ask(self, pool: Any, users: Sequence[str]) -> dict[str, str | None]:
        self.asked += 1
        await asyncio.sleep(0)
        return {user: self.now.get(user) for user in users}


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> _Accounts:
    return _Accounts(monkeypatch)


@pytest.mark.parametrize("change", ["user", "class"])
async def test_an_answer_of_before_a_change_is_not_the_last_word(accounts: _Accounts, change: str) -> None:
    """The opening of a session, and the check of all of them, read the row a moment before staff change it, and hear it later."""
    session = _Session("ann")
    owner = OwnLimits(None, _Hub(session))  # type: ignore[arg-type]
    asked_at = asyncio.get_running_loop().time()
    before, after = (None, SLOWED) if change == "user" else (SLOWED.replace("slowed", "own"), SLOWED)
    accounts.now["ann"] = after
    if change == "user":
        owner.changed("ann")
        await until(lambda: session.limit_class == "slowed", "it is told")
    else:
        owner.class_changed("own")
    owner.apply(session, before, asked_at)  # type: ignore[arg-type]
    await until(lambda: session.limit_class == "slowed", "it is as the account is")
    assert session.limits.messages_per_minute < LIMITS.messages_per_minute


async def test_an_answer_of_after_a_change_is(accounts: _Accounts) -> None:
    """Nobody is asked about once more for nothing, and changes are forgotten."""
    session = _Session("ann")
    owner = OwnLimits(None, _Hub(session))  # type: ignore[arg-type]
    owner.changed("ann")
    await until(lambda: accounts.asked == 1, "it is asked")
    await asyncio.sleep(0)
    asked_at = asyncio.get_running_loop().time() + 0.001
    owner.apply(session, SLOWED, asked_at)  # type: ignore[arg-type]
    assert not owner._changed
    assert session.limit_class == "slowed"
    owner._told["ann"] -= own_limits.TOLD_S + 1
    owner.tick()
    assert not owner._told
