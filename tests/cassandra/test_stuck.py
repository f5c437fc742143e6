"""A conversation that is stuck is not a store that is away: its senders are told to come again, and nobody else is kept out."""

from __future__ import annotations

import pytest

from delivery.store.cassandra import claims, log
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.errors import Busy
from delivery.store.guarded import CircuitOpen, guarded
from delivery.store.interface import Unavailable
from delivery.store.values import Outcome
from tests.cassandra.two_gateways import Two, two
from tests.contract.people import T0, People, new_id, send
from whatsapp.infra.breaker import Policy

__all__ = ["two"]  # a fixture

POLICY = Policy(failures=5, open_s=1000)


async def one_is_stuck(two: Two) -> None:
    """Its claim is too old to be told of, and too young to be decided; nobody else writes."""
    behind = guarded(two.other, "stuck", POLICY)
    stuck, other = two.people.send(), await People(two.other).meet()
    await two.fails(stuck)
    two.now += claims.CLAIM_MS + 1_000
    for _ in range(POLICY.failures):
        with pytest.raises(Unavailable) as raised:
            await behind.append(new_id(), [stuck], T0)
        assert not isinstance(raised.value, CircuitOpen)
    (result,) = (await behind.append(new_id(), [other.send()], T0)).results
    assert result.outcome is Outcome.STORED


async def test_a_stuck_conversation_keeps_nobody_else_out(two: Two) -> None:
    await one_is_stuck(two)


async def test_twin_a_stuck_conversation_is_taken_for_a_store_that_is_away(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "Busy", Unavailable)
    with pytest.raises(CircuitOpen):
        await one_is_stuck(two)


async def test_nodes_that_do_not_answer_are_no_stuck_conversation() -> None:
    session = Cassandra(["127.0.0.1"], "any", port=1, request_timeout_s=0.2)
    behind = guarded(CassandraStore(session), "dead", POLICY)
    one = send(new_id(), new_id(), new_id())
    for _ in range(POLICY.failures):
        with pytest.raises(Unavailable) as raised:
            await behind.append(new_id(), [one], T0)
        assert not isinstance(raised.value, Busy | CircuitOpen)
    with pytest.raises(CircuitOpen):
        await behind.append(new_id(), [one], T0)
    await session.close()
