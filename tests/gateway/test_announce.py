"""Online or away is announced while the session ends: nobody stays online."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.conftest import hot_url, log, world  # noqa: F401 - fixtures: a process inside the test
from tests.support.patience import until


async def test_an_ended_session_is_not_announced(world: Any) -> None:  # noqa: F811
    process = await world.process()
    seat = await process.seat(*await world.person())
    user = seat.session.user
    seat.leave()
    await until(lambda: not world.redis.exists(f"{{{user}}}:sessions"), "the record is removed")
    await process.node.sessions.announce(seat.session)
    assert not world.redis.exists(f"{{{user}}}:sessions")


async def test_a_session_that_ends_while_it_is_announced_leaves_no_record(
    world: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The announcement reaches the node after the session was removed there, as when a script had to be loaded first."""
    process = await world.process()
    seat = await process.seat(*await world.person())
    user, inbox = seat.session.user, process.node.inbox
    register = inbox.register

    async def late(requests: Any) -> Any:
        seat.leave()
        await until(lambda: not world.redis.exists(f"{{{user}}}:sessions"), "the record is removed")
        return await register(requests)

    monkeypatch.setattr(inbox, "register", late)
    await process.node.sessions.announce(seat.session)
    await until(lambda: not world.redis.exists(f"{{{user}}}:sessions"), "the record is removed again", 5)
