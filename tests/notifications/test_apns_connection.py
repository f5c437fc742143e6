"""The one connection: what it carries at once, how it ends, and what is sent again."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from devtools.push_servers.apns import Told
from devtools.push_servers.h2_server import Request
from notifications.senders import http2
from notifications.senders.http2 import Times
from notifications.senders.interface import Outcome, Push, Result, Target, Urgency
from tests.notifications.apns_app import App, opened, push, target
from tests.support.patience import until


async def _accepted(app: App) -> None:
    assert (await app.sender.send(target(), push())).outcome is Outcome.ACCEPTED


def _many(app: App, count: int) -> list[asyncio.Task[Result]]:
    return [asyncio.create_task(app.sender.send(target(), push())) for _ in range(count)]


async def _held(app: App, count: int) -> tuple[list[asyncio.Task[Result]], list[Request]]:
    """Pushes that the provider has accepted and not answered yet."""
    held: list[Request] = []
    app.apns.hold = held.append
    sends = _many(app, count)
    await until(lambda: len(held) == count, "all arrived")
    app.apns.hold = None
    return sends, held


# one connection for all


@pytest.mark.parametrize("streams", [1, 7, 1_000])
async def test_a_thousand_pushes_share_one_connection(tmp_path: Path, streams: int) -> None:
    async with opened(tmp_path, streams=streams) as app:
        results = await asyncio.gather(*_many(app, 1_000))
        assert {r.outcome for r in results} == {Outcome.ACCEPTED}
        server = app.apns.server
        assert (server.opened, server.violations) == (1, [])
        assert server.connections[0].most_open <= streams
        assert len(app.apns.shown) == 1_000


async def test_many_are_under_way_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        sends, held = await _held(app, 50)
        assert len(app.apns.server.connections[0].open) == 50
        for request in held:
            request.answer(200)
        assert {r.outcome for r in await asyncio.gather(*sends)} == {Outcome.ACCEPTED}


async def test_twin_who_does_not_mind_the_limit_of_streams_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anything(connection: http2._Connection, _size: int) -> bool:
        return connection.usable and connection.ready.done()

    monkeypatch.setattr(http2._Connection, "_room", anything)
    async with opened(tmp_path, streams=7) as app:
        results = await asyncio.gather(*_many(app, 50))
        assert Outcome.LATER in {r.outcome for r in results}


async def test_a_limit_that_changes_is_kept(tmp_path: Path) -> None:
    """As Apple does it: one stream until the first push is accepted, then many; and fewer later on."""
    async with opened(tmp_path, streams=1) as app:
        await _accepted(app)
        connection = app.apns.server.connections[0]
        connection.set_streams(30)
        sends, held = await _held(app, 30)
        connection.set_streams(5)
        more = _many(app, 20)
        for request in held:
            request.answer(200)
        connection.most_open = 0
        results = await asyncio.gather(*sends, *more)
        assert {r.outcome for r in results} == {Outcome.ACCEPTED}
        assert connection.most_open <= 5
        assert (app.apns.server.opened, app.apns.server.violations) == (1, [])


async def test_a_call_does_not_wait_behind_messages(tmp_path: Path) -> None:
    async with opened(tmp_path, streams=1) as app:
        sends, held = await _held(app, 1)
        sends += _many(app, 20)
        await asyncio.sleep(0)  # they wait now
        call = push(Urgency.CALL)
        sends.append(asyncio.create_task(app.sender.send(target(), call)))
        await asyncio.sleep(0)
        ids: list[str] = []
        app.apns.hold = lambda request: (ids.append(request.headers["apns-id"]), request.answer(200))[0]
        held[0].answer(200)
        await asyncio.gather(*sends)
        assert len(ids) == 21
        assert ids[0] == call.id


async def test_two_apps_have_a_connection_each(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        other = app.another()
        for sender in (app.sender, other, app.sender, other):
            assert (await sender.send(target(), push())).outcome is Outcome.ACCEPTED
        assert app.apns.server.opened == 2
        await other.close()
        await until(lambda: len(app.apns.server.connections) == 1, "the closed one is gone")


# its end


async def test_a_connection_that_ended_is_made_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        await _accepted(app)
        app.apns.server.cut()
        await until(lambda: not app.apns.server.connections, "cut")
        await until(lambda: not app.sender._client._connection.usable, "noticed")  # type: ignore[union-attr]
        await _accepted(app)
        assert app.apns.server.opened == 2


@pytest.mark.parametrize("reason", ["IdleTimeout", "Shutdown"])
async def test_behind_an_answer_that_the_connection_ends_a_new_one_is_made(
    tmp_path: Path, reason: str
) -> None:
    async with opened(tmp_path) as app:
        await _accepted(app)
        app.apns.answers = [Told(503, reason)]
        assert (await app.sender.send(target(), push())).outcome is Outcome.LATER
        await _accepted(app)
        assert app.apns.server.opened == 2
        await until(lambda: len(app.apns.server.connections) == 1, "the old one is closed")


async def test_what_apple_answers_behind_its_goaway_still_counts(tmp_path: Path) -> None:
    """RFC 9113 section 6.8. Otherwise each of them would be sent, and ring, a second time."""
    async with opened(tmp_path) as app:
        sends, held = await _held(app, 20)
        held[0].connection.goaway(held[-1].stream, b'{"reason":"IdleTimeout"}')
        for request in held:
            request.answer(200)
        assert {r.outcome for r in await asyncio.gather(*sends)} == {Outcome.ACCEPTED}
        assert app.apns.accepted == 20
        await _accepted(app)
        assert app.apns.server.opened == 2
        await until(lambda: len(app.apns.server.connections) == 1, "the old one is closed")


async def test_twin_plain_h2_loses_what_is_answered_behind_a_goaway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2, "_H2", H2Connection)
    async with opened(tmp_path) as app:
        sends, held = await _held(app, 20)
        held[0].connection.goaway(held[-1].stream)
        for request in held:
            request.answer(200)
        assert Outcome.LATER in {r.outcome for r in await asyncio.gather(*sends)}


async def test_what_apple_did_not_look_at_goes_on_another_connection(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        sends, held = await _held(app, 20)
        app.apns.shown.clear()  # it has not looked at them
        held[0].connection.goaway(0)
        assert {r.outcome for r in await asyncio.gather(*sends)} == {Outcome.ACCEPTED}
        assert len(app.apns.shown) == 20
        assert app.apns.server.opened == 2


async def test_a_refused_stream_is_sent_again_but_not_for_ever(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        held: list[Request] = []
        app.apns.hold = lambda request: (held.append(request), request.reset())[0]
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason, result.of_app) == (Outcome.LATER, "Refused", True)
        assert len(held) == http2.ATTEMPTS
        app.apns.hold = None
        await _accepted(app)
        assert app.apns.server.opened == 1


# sent, and no answer


async def _lost_and_repeated(app: App, second: Push | None = None) -> int:
    """The connection ends behind a push that the provider has accepted; it is sent again. How many are on the screen."""
    device, first = target(), push()
    app.apns.hold = lambda request: request.connection.transport.abort()
    result = await app.sender.send(device, first)
    assert (result.outcome, result.reason, result.status) == (Outcome.LATER, "ConnectionLost", 0)
    assert app.apns.received == 1, "the sender itself repeats nothing whose fate it does not know"
    app.apns.hold = None
    assert (await app.sender.send(device, second or first)).outcome is Outcome.ACCEPTED
    assert app.apns.accepted == 2
    return len(app.apns.shown)


async def test_a_connection_lost_behind_a_push_does_not_show_it_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        assert await _lost_and_repeated(app) == 1


async def test_twin_with_another_name_it_is_shown_twice(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        assert await _lost_and_repeated(app, push()) == 2


async def test_a_stream_that_is_reset_is_not_repeated(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        app.apns.hold = lambda request: request.reset(ErrorCodes.INTERNAL_ERROR)
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason) == (Outcome.LATER, "StreamReset")
        assert app.apns.received == 1


async def test_a_provider_that_breaks_the_protocol_is_left_for_a_new_connection(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        data_of_no_stream = b"\0\0\1" + b"\0" + b"\0" + b"\0\0\0\0" + b"x"  # RFC 9113 section 6.1
        app.apns.hold = lambda request: request.connection.transport.write(data_of_no_stream)
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason) == (Outcome.LATER, "ConnectionLost")
        app.apns.hold = None
        await _accepted(app)
        assert app.apns.server.opened == 2


async def test_a_slow_answer_costs_its_push_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, times=Times(connect=20, wait=20, answer=4)) as app:
        slow: list[Request] = []
        app.apns.hold = slow.append
        waiting = asyncio.create_task(app.sender.send(target(), push()))
        await until(lambda: slow, "it arrived")
        app.apns.hold = None
        while not waiting.done():  # the others are served meanwhile, on the same connection
            await _accepted(app)
            await asyncio.sleep(0.01)
        result = waiting.result()
        assert (result.outcome, result.reason, result.of_app) == (Outcome.LATER, "Timeout", True)
        await until(lambda: app.apns.server.resets == 1, "its stream is given back")
        slow[0].answer(200)  # too late; nobody minds
        await _accepted(app)
        assert app.apns.server.opened == 1


async def test_given_up_pushes_leave_no_stream_behind(tmp_path: Path) -> None:
    async with opened(tmp_path, streams=5) as app:
        for _ in range(4):
            sends, _held_ones = await _held(app, 5)
            for send in sends:
                send.cancel()
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert {type(r) for r in results} == {asyncio.CancelledError}
        await _accepted(app)
        server = app.apns.server
        assert (server.opened, server.resets, server.violations) == (1, 20, [])


async def test_twin_streams_that_are_not_given_back_are_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        http2._Connection, "_give_up", lambda self, exchange: self._exchanges.pop(exchange.stream, None)
    )
    async with opened(tmp_path, streams=5) as app:
        sends, _ = await _held(app, 5)
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)
        await app.sender.send(target(), push())
        assert app.apns.server.opened > 1  # the old connection was of no more use


async def test_a_provider_that_fell_silent_is_left_for_a_new_connection(tmp_path: Path) -> None:
    async with opened(tmp_path, times=Times(connect=20, wait=3, answer=3)) as app:
        await _accepted(app)
        app.apns.server.frozen = True
        results = await asyncio.gather(*_many(app, 3))
        assert {(r.outcome, r.of_app) for r in results} == {(Outcome.LATER, True)}
        assert {r.reason for r in results} <= {"Timeout", "ConnectionLost"}
        app.apns.server.frozen = False
        await _accepted(app)
        assert app.apns.server.opened == 2


async def test_no_stream_is_free_in_time(tmp_path: Path) -> None:
    async with opened(tmp_path, streams=1, times=Times(connect=20, wait=2, answer=20)) as app:
        sends, held = await _held(app, 1)
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.reason, result.of_app) == (Outcome.LATER, "NoStream", True)
        held[0].answer(200)
        assert (await sends[0]).outcome is Outcome.ACCEPTED
        assert app.apns.received == 1


# no connection


async def _unreachable(app: App, device: Target | None = None) -> None:
    results = await asyncio.gather(*(app.sender.send(device or target(), push()) for _ in range(5)))
    assert {(r.outcome, r.reason, r.status, r.of_app) for r in results} == {
        (Outcome.LATER, "Unreachable", 0, True)
    }


async def test_nobody_listens_and_later_somebody_does(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        await app.apns.server.stop()
        await _unreachable(app)
        await app.apns.server.start()
        await _accepted(app)


async def test_a_provider_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    async with opened(tmp_path, times=Times(connect=1)) as app:
        app.apns.server.silent = True
        await _unreachable(app)
        assert app.apns.server.opened == 1  # all have waited for the same one
        app.apns.server.silent = False
        app.apns.server.frozen = False
        await until(lambda: not app.apns.server.connections, "it is closed")


async def test_a_certificate_of_somebody_else_is_not_accepted(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with opened(tmp_path) as app, opened(other) as stranger:
        app.sender = app.another(ca_file=str(stranger.certificates.file))
        await _unreachable(app)
        assert app.apns.received == 0


async def test_a_name_that_the_certificate_does_not_bear_is_not_accepted(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        app.sender = app.another(url=app.apns.server.url.replace("127.0.0.1", "localhost"))
        await _unreachable(app)
        assert app.apns.received == 0


async def test_without_http_2_nothing_is_sent(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        app.apns.server._tls.set_alpn_protocols(["http/1.1"])
        result = await app.sender.send(target(), push())
        assert (result.outcome, result.of_app, result.status) == (Outcome.LATER, True, 0)
        assert app.apns.received == 0


async def test_an_idle_connection_is_watched_by_the_kernel(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        await _accepted(app)
        held = app.sender._client._connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
        assert held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as app:
        sends, _ = await _held(app, 3)
        await app.sender.close()
        assert {(r.outcome, r.reason) for r in await asyncio.gather(*sends)} == {
            (Outcome.LATER, "ConnectionLost")
        }
