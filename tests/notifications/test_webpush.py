"""Web Push, against a push service that checks what it gets: what it takes, each answer of it, and what happens without one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from devtools.push_servers.webpush import Answer
from notifications import sealing, vapid
from notifications.senders import push_service, webpush
from notifications.senders.http2 import Times
from notifications.senders.interface import Outcome, PushApp, Result, Urgency
from notifications.senders.webpush import WebPushSender
from tests.notifications.webpush_app import CONTENT, KEY, PUSH, Browser, Service, options
from tests.support.patience import until
from whatsapp.infra.breaker import Policy


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path) as service:
        yield service


@pytest.fixture
async def sender(service: Service) -> AsyncIterator[WebPushSender]:
    sender = WebPushSender.from_options(PushApp("web", "webpush", options(service)))
    yield sender
    await sender.close()


BROWSER = Browser()


@pytest.mark.parametrize("http1", [False, True], ids=["HTTP/2", "HTTP/1.1"])
async def test_a_push_arrives_sealed_and_signed(service: Service, sender: WebPushSender, http1: bool) -> None:
    endpoint = service.subscribe(key=sender.public_key, http1=http1)
    assert await sender.send(BROWSER.target(endpoint), PUSH) == Result(Outcome.ACCEPTED, "", 201)
    (message,) = service.waiting(endpoint)
    assert BROWSER.opened(message.body) == {
        "type": "message",
        "id": PUSH.id,
        "collapse": PUSH.collapse,
        "badge": 7,
        "content": json.loads(CONTENT),
    }
    assert len(message.body) in sealing.SIZES
    assert b"Ada" not in message.body
    headers = {name: message.headers[name] for name in ("ttl", "urgency", "topic")}
    assert headers == {"ttl": "3600", "urgency": "normal", "topic": PUSH.collapse}


async def test_calls_messages_and_what_is_silent_have_different_urgencies(
    service: Service, sender: WebPushSender
) -> None:
    endpoint = service.subscribe()
    for urgency in Urgency:
        push = PUSH._replace(urgency=urgency, collapse=urgency.value, badge=None, content=None)
        await sender.send(BROWSER.target(endpoint), push)
    said = {m.headers["urgency"]: BROWSER.opened(m.body) for m in service.waiting(endpoint)}
    assert said == {
        "high": {"type": "call", "id": PUSH.id, "collapse": "call"},
        "normal": {"type": "message", "id": PUSH.id, "collapse": "message"},
        "low": {"type": "silent", "id": PUSH.id, "collapse": "silent"},
    }


async def test_an_endpoint_is_asked_as_it_was_given(service: Service, sender: WebPushSender) -> None:
    """Those of Windows have a query."""
    for http1 in (False, True):
        endpoint = service.subscribe(http1=http1) + "?token=a%2Fb%3D&x"
        await sender.send(BROWSER.target(endpoint), PUSH)
    assert [post.path.partition("?")[2] for post in service.posts] == ["token=a%2Fb%3D&x"] * 2
    assert len(service.posts) == 2


async def test_one_connection_carries_many(service: Service, sender: WebPushSender) -> None:
    target = BROWSER.target(service.subscribe())
    await sender.send(target, PUSH)
    pushes = [PUSH._replace(collapse=str(n)) for n in range(200)]
    results = await asyncio.gather(*(sender.send(target, push) for push in pushes))
    assert {result.outcome for result in results} == {Outcome.ACCEPTED}
    assert len(service.waiting(target.token)) == 201
    assert service.h2.opened == 1
    assert len({post.headers["authorization"] for post in service.posts}) == 1


async def test_a_newer_push_takes_the_place_of_one_that_waits(
    service: Service, sender: WebPushSender
) -> None:
    endpoint = service.subscribe()
    for badge in (1, 2, 3):
        await sender.send(BROWSER.target(endpoint), PUSH._replace(badge=badge))
    await sender.send(BROWSER.target(endpoint), PUSH._replace(collapse="another"))
    assert [BROWSER.opened(m.body)["badge"] for m in service.waiting(endpoint)] == [3, 7]


async def test_what_does_not_fit_is_left_out(service: Service, sender: WebPushSender) -> None:
    endpoint = service.subscribe()
    around = len(webpush.payload(PUSH, b""))
    for more in (0, 1):
        text = b'"' + b"x" * (sealing.LONGEST - around - 2 + more) + b'"'
        push = PUSH._replace(content=text, collapse=str(more) * len(PUSH.collapse))
        assert (await sender.send(BROWSER.target(endpoint), push)).outcome is Outcome.ACCEPTED
    assert ["content" in BROWSER.opened(m.body) for m in service.waiting(endpoint)] == [True, False]


async def test_a_subscription_without_keys_is_only_woken(service: Service, sender: WebPushSender) -> None:
    endpoint = service.subscribe()
    target = BROWSER.target(endpoint)._replace(p256dh=None, auth=None)
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
    assert [m.body for m in service.waiting(endpoint)] == [b""]


async def test_times_are_in_the_bounds_of_push_services(service: Service, sender: WebPushSender) -> None:
    endpoint = service.subscribe()
    for n, ttl in enumerate((-5, 10**9)):
        await sender.send(BROWSER.target(endpoint), PUSH._replace(ttl_s=ttl, collapse=str(n)))
    assert [m.headers["ttl"] for m in service.accepted] == ["0", "2419200"]


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (Answer(200), Result(Outcome.ACCEPTED, "", 200)),
        (Answer(202), Result(Outcome.ACCEPTED, "", 202)),
        (Answer(204), Result(Outcome.ACCEPTED, "", 204)),
        (Answer(404), Result(Outcome.GONE, "Gone", 404)),
        (Answer(410), Result(Outcome.GONE, "Gone", 410)),
        (Answer(400, b"bad TTL"), Result(Outcome.REFUSED, "BadRequest", 400)),
        (Answer(400, b'{"reason":"BadJwtToken"}'), Result(Outcome.MISCONFIGURED, "Vapid", 400)),
        (Answer(400, b'{"reason":"VapidPkHashMismatch"}'), Result(Outcome.MISCONFIGURED, "Vapid", 400)),
        (Answer(400, b"x" * 16_000 + b"vapid"), Result(Outcome.REFUSED, "BadRequest", 400)),
        (Answer(401), Result(Outcome.MISCONFIGURED, "Vapid", 401)),
        (Answer(403), Result(Outcome.MISCONFIGURED, "Vapid", 403)),
        (Answer(405), Result(Outcome.REFUSED, "Other", 405)),
        (Answer(429), Result(Outcome.LATER, "TooManyRequests", 429)),
        (Answer(429, b"", {"retry-after": "30"}), Result(Outcome.LATER, "TooManyRequests", 429, 30_000)),
        (Answer(406), Result(Outcome.LATER, "TooManyRequests", 406)),
        (Answer(408), Result(Outcome.LATER, "Unavailable", 408)),
        (Answer(500), Result(Outcome.LATER, "Unavailable", 500)),
        (Answer(503, b"", {"retry-after": "7"}), Result(Outcome.LATER, "Unavailable", 503, 7_000)),
        (Answer(503, b"", {"retry-after": "soon"}), Result(Outcome.LATER, "Unavailable", 503)),
        (Answer(0), Result(Outcome.LATER, "ConnectionLost")),
    ],
    ids=lambda value: f"{value.status} {value.body[-20:]!r}" if isinstance(value, Answer) else None,
)
@pytest.mark.parametrize("http1", [False, True], ids=["HTTP/2", "HTTP/1.1"])
async def test_each_answer(
    service: Service, sender: WebPushSender, reply: Answer, result: Result, http1: bool
) -> None:
    target = BROWSER.target(service.subscribe(http1=http1))
    service.answers.append(reply)
    assert await sender.send(target, PUSH) == result
    assert len(service.posts) == 1
    if result.retry_after_ms is None:
        assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED


async def test_a_redirection_is_not_followed(service: Service, sender: WebPushSender) -> None:
    elsewhere = service.subscribe()
    service.answers.append(Answer(307, b"", {"location": elsewhere}))
    result = await sender.send(BROWSER.target(service.subscribe()), PUSH)
    assert result == Result(Outcome.REFUSED, "Redirected", 307)
    assert len(service.posts) == 1


async def test_what_is_too_large_goes_once_more_without_content(
    service: Service, sender: WebPushSender
) -> None:
    target = BROWSER.target(service.subscribe())
    service.answers.append(Answer(413))
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
    (message,) = service.waiting(target.token)
    assert "content" not in BROWSER.opened(message.body)

    service.answers.extend([Answer(413), Answer(413)])
    assert await sender.send(target, PUSH) == Result(Outcome.REFUSED, "TooLarge", 413)
    service.answers.append(Answer(413))
    assert await sender.send(target, PUSH._replace(content=None)) == Result(Outcome.REFUSED, "TooLarge", 413)
    assert len(service.posts) == 5


async def test_an_answer_that_is_lost_shows_nothing_twice(service: Service, sender: WebPushSender) -> None:
    """The push service took it, and the connection ended: what is sent again takes its place."""
    target = BROWSER.target(service.subscribe())
    service.behind = lambda answer: Answer(0)
    first = await sender.send(target, PUSH)
    assert (first.outcome, first.of_app) == (Outcome.LATER, False)
    assert len(service.accepted) == 1
    service.behind = None
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
    assert len(service.accepted) == 2
    assert len(service.waiting(target.token)) == 1


async def test_a_subscription_of_another_key_is_refused_for_itself_alone(
    service: Service, sender: WebPushSender
) -> None:
    other = vapid.public_text(ec.generate_private_key(ec.SECP256R1()))
    result = await sender.send(BROWSER.target(service.subscribe(key=other)), PUSH)
    assert result == Result(Outcome.MISCONFIGURED, "Vapid", 403)
    ours = BROWSER.target(service.subscribe(key=sender.public_key))
    assert (await sender.send(ours, PUSH)).outcome is Outcome.ACCEPTED
    first, second = (post.headers["authorization"] for post in service.posts)
    assert first != second  # a token that was refused is not used again


class Clock:
    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
async def timed(service: Service) -> AsyncIterator[tuple[WebPushSender, Clock]]:
    clock = Clock()
    sender = WebPushSender(PushApp("web", "webpush", options(service)), Times(1, 0.5, 0.5), clock)
    yield sender, clock
    await sender.close()


async def test_a_push_service_that_wants_time_gets_it_and_the_others_go_on(
    service: Service, timed: tuple[WebPushSender, Clock]
) -> None:
    sender, clock = timed
    busy, other = (BROWSER.target(service.subscribe(http1=http1)) for http1 in (False, True))
    service.answers.append(Answer(429, b"", {"retry-after": "30"}))
    assert (await sender.send(busy, PUSH)).retry_after_ms == 30_000
    clock.s += 10
    assert await sender.send(busy, PUSH) == Result(Outcome.LATER, "Paused", 0, 20_000)
    assert (await sender.send(other, PUSH)).outcome is Outcome.ACCEPTED
    assert len(service.posts) == 2
    clock.s += 20
    assert (await sender.send(busy, PUSH)).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("protected", [True, False], ids=["", "twin"])
async def test_a_push_service_that_is_silent_is_left_alone_and_the_others_go_on(
    service: Service,
    timed: tuple[WebPushSender, Clock],
    monkeypatch: pytest.MonkeyPatch,
    protected: bool,
) -> None:
    if not protected:
        monkeypatch.setattr(push_service, "POLICY", Policy(failures=0))
    sender, clock = timed
    silent, other = (BROWSER.target(service.subscribe(http1=http1)) for http1 in (False, True))
    service.silent = True
    for _ in range(5):
        assert await sender.send(silent, PUSH) == Result(Outcome.LATER, "Timeout")
    asked = len(service.posts)
    left_alone = await sender.send(silent, PUSH)
    assert (len(service.posts) == asked) is protected
    service.silent = False
    if protected:
        assert left_alone == Result(Outcome.LATER, "Paused", 0, 10_000)
        assert (await sender.send(other, PUSH)).outcome is Outcome.ACCEPTED
        clock.s += 10
        assert (await sender.send(silent, PUSH)).outcome is Outcome.ACCEPTED
        assert (await sender.send(silent, PUSH)).outcome is Outcome.ACCEPTED


async def test_a_connection_that_is_silent_is_not_used_again(
    service: Service, timed: tuple[WebPushSender, Clock]
) -> None:
    sender, _ = timed
    target = BROWSER.target(service.subscribe())
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
    service.silent = True
    assert (await sender.send(target, PUSH)).reason == "Timeout"
    service.silent = False
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
    assert service.h2.opened == 2


async def test_a_push_that_is_given_up_leaves_nothing_behind(service: Service, sender: WebPushSender) -> None:
    target = BROWSER.target(service.subscribe())
    service.silent = True
    task = asyncio.create_task(sender.send(target, PUSH))
    await until(lambda: service.posts, "the push service has it")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    service.silent = False
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED


async def test_nobody_listens(service: Service, sender: WebPushSender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    result = await sender.send(BROWSER.target(f"https://127.0.0.1:{port}/push/1"), PUSH)
    assert result == Result(Outcome.LATER, "Unreachable")


async def test_a_certificate_of_somebody_else_is_not_trusted(service: Service) -> None:
    trusting_others = options(service)
    del trusting_others["ca_file"]
    sender = WebPushSender.from_options(PushApp("web", "webpush", trusting_others))
    result = await sender.send(BROWSER.target(service.subscribe()), PUSH)
    await sender.close()
    assert result == Result(Outcome.LATER, "Unreachable")
    assert not service.posts


async def test_keys_that_are_none_are_refused(service: Service, sender: WebPushSender) -> None:
    target = BROWSER.target(service.subscribe())._replace(p256dh=bytes(65))
    assert await sender.send(target, PUSH) == Result(Outcome.REFUSED, "Keys")
    assert not service.posts


async def test_safari_gets_nothing_that_shows_nothing(service: Service, sender: WebPushSender) -> None:
    target = BROWSER.target("https://web.push.apple.com/abc")
    result = await sender.send(target, PUSH._replace(urgency=Urgency.SILENT))
    assert result == Result(Outcome.REFUSED, "AlwaysShown")


def test_without_a_key_and_a_subject_there_is_no_sender() -> None:
    for given in (
        {},
        {"private_key": vapid.private_text(KEY)},
        {"private_key": "x", "subject": "mailto:a@b"},
    ):
        with pytest.raises(vapid.BadVapid):
            WebPushSender.from_options(PushApp("web", "webpush", given))


async def test_not_every_push_service_is_remembered_for_ever(service: Service, sender: WebPushSender) -> None:
    """A client names them. One that was forgotten is asked as if it were new."""
    target = BROWSER.target(service.subscribe())
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
    nobody = [BROWSER.target(f"https://127.0.0.1:{port}/push/1") for port in range(1, 301)]
    results = await asyncio.gather(*(sender.send(one, PUSH) for one in nobody))
    assert {result.outcome for result in results} == {Outcome.LATER}
    assert len(sender._services) == webpush._KEPT
    await until(lambda: not service.h2.connections, "its connection has ended")
    assert (await sender.send(target, PUSH)).outcome is Outcome.ACCEPTED
