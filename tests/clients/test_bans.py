"""Who is banned learns until when, and where to say that it is wrong: over REST, and in what ends the client."""

from __future__ import annotations

from whatsapp_client import RestError, events
from whatsapp_client.bans import describe
from whatsapp_terminal.explain import explain, limited_news

from .connected import connected
from .scripted import Peer, before_ready

UNTIL = 1_796_032_800_000  # 2026-11-30 10:00
DETAILS = {"until": UNTIL, "appealUrl": "/appeals/t"}


def test_it_says_what_it_was_told() -> None:
    said = " until 2026-11-30 10:00 UTC; if that is wrong, say so at https://example.org/appeals/t"
    assert describe(DETAILS, "https://example.org/me") == said
    assert describe({"until": 2**52, "appealUrl": ""}) == ""  # for good, and nobody to ask
    assert describe({"until": "soon", "appealUrl": 7}) == describe(None) == describe([]) == ""


async def test_who_is_banned_while_connected_is_told_when_it_ends_and_where_to_ask() -> None:
    async def banning(peer: Peer) -> None:
        await peer.synced()
        await peer.send(type="error", code="banned", message="banned", retryable=False, details=DETAILS)
        await peer.close(4403)

    await _told(banning)


async def test_who_is_banned_already_is_told_too() -> None:
    @before_ready
    async def banned(peer: Peer) -> None:
        await peer.send(type="error", code="banned", message="banned", retryable=False, details=DETAILS)
        await peer.close(4403)

    await _told(banned)


async def _told(script: object) -> None:
    async with connected(script) as (_, client):
        states = [each async for each in client.events() if isinstance(each, events.State)]
        assert (states[-1].status, states[-1].code) == ("stopped", 4403)
        assert states[-1].detail.startswith("this account is banned until 2026-11-30 10:00 UTC; ")
        assert states[-1].detail.endswith("/appeals/t")
        assert "http://" in states[-1].detail


def test_who_may_do_less_is_told_in_a_sentence() -> None:
    said = limited_news({"kind": "limit", **DETAILS})
    assert said.startswith(
        "You cannot write to new people, make groups or invite until 2026-11-30 10:00 UTC; "
    )
    assert limited_news({"kind": None, "until": None, "appealUrl": ""}) == "You can do everything again."
    assert limited_news({"kind": ["new"], "until": None, "appealUrl": ""}) == "You can do less."


def test_the_terminal_says_it_in_a_sentence() -> None:
    refusal = RestError(403, "banned", "The account is banned.", details=DETAILS)
    refusal.url = "http://localhost:8000/auth/verify"
    said = explain(refusal)
    assert said.startswith("This account is banned until 2026-11-30 10:00 UTC; ")
    assert said.endswith("http://localhost:8000/appeals/t.")
