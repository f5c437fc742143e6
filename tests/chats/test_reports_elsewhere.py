"""POST /reports with the log on Cassandra: what copies are worth there, and a node that does not answer meanwhile."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction

from accounts.models import Block, Case, KeptAnswer, Report
from chats.services import reports
from delivery.store import chosen
from delivery.store.sync import store
from delivery.store.values import Amendment
from media.models import Hold
from tests.accounts.conftest import Person, assert_problem
from tests.chats.conftest import open_direct
from tests.chats.reporting import ask, file_of, made, say, text, verdicts
from tests.groups.conftest import make, sign_in
from tests.support.wire import Wire
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)

HOUR_MS = 3_600_000


class Way:
    """The way of this process to its node."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        self._wire, self._loop = wire, loop

    def _call(self, act: Callable[[], None]) -> None:
        async def called() -> None:
            act()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result(10)

    def away(self) -> None:
        """Connections end, and new ones at once."""
        self._call(self._wire.away)

    def freeze(self) -> None:
        """Nothing passes, and nobody is told."""
        self._call(lambda: self._wire.freeze(new_ones=True))

    def back(self) -> None:
        def restore() -> None:
            self._wire.back()
            self._wire.cut(frozen_only=True)

        self._call(restore)


@pytest.fixture
def way(cassandra_node: Any, cassandra_keyspace: str, settings: Any) -> Iterator[Way]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    address = f"cql://{cassandra_node.host}:{cassandra_node.port}"
    wire: Wire = asyncio.run_coroutine_threadsafe(Wire(address).start(), loop).result(10)
    host, port = wire.address
    settings.CASSANDRA_CONTACT_POINTS, settings.CASSANDRA_PORT = [host], port
    settings.CASSANDRA_KEYSPACE, settings.LOG_STORE = cassandra_keyspace, "cassandra"
    yield Way(wire, loop)
    chosen.background.close()
    asyncio.run_coroutine_threadsafe(wire.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def ann(way: Way) -> Person:
    return sign_in()


@pytest.fixture
def bob(way: Way) -> Person:
    return sign_in()


@pytest.fixture
def chat(ann: Person, bob: Person) -> str:
    return open_direct(bob, ann)


def delete(sent: Any) -> None:
    amendment = Amendment(
        conversation=sent.conversation, sender=sent.sender.user_id, device=sent.sender.device_id,
        message_id=str(uuid.uuid4()), kind="delete", content=b"", body_hash=b"1" * 16, sent_at=1, target=sent.message_id,
    )  # fmt: skip
    with transaction.atomic():
        store.append(str(uuid.uuid4()), [amendment], now_ms())


def test_copies_are_judged_by_this_log_too(ann: Person, bob: Person, chat: str) -> None:
    sealed, seen, gone = say(bob, chat), say(bob, chat, encrypted=False), say(bob, chat)
    delete(gone)
    copies = [
        sealed.copy(),
        say(ann, chat).copy(),
        seen.copy(franked=False),
        gone.copy(),
        say(bob, chat).copy(franked=False),
    ]
    report = made(ask(ann, chat, messages=copies))
    assert verdicts(report) == ["verified", "verified", "verified", "verified", "unverifiable"]
    for forged in (
        say(bob, chat).copy(content=text(b"something else")),
        say(bob, chat, encrypted=False).copy(franked=False, content=text(b"something else")),
        sealed.copy(senderDeviceId=str(uuid.uuid4())),
    ):
        assert verdicts(made(ask(ann, chat, messages=[forged]))) == ["forged"]
    assert Case.objects.get(subject=bob.user_id).verified
    never = sealed.copy(messageId=str(uuid.uuid4()))
    assert_problem(ask(ann, chat, messages=[never]), "not_found", 404)
    assert_problem(ask(sign_in(), chat, messages=[sealed.copy()]), "not_found", 404)


def test_members_report_what_they_were_sent(ann: Person, bob: Person, chat: str) -> None:
    group = make(bob, sign_in())
    before = say(bob, group)
    assert bob.api.put(f"/groups/{group}/members/{ann.user_id}", {}).status_code == 200
    during = say(bob, group)
    assert ann.api.delete(f"/groups/{group}/members/{ann.user_id}").status_code == 204
    for other in (before, say(bob, group)):
        assert_problem(ask(ann, group, messages=[other.copy()]), "not_found", 404)
    assert verdicts(made(ask(ann, group, messages=[during.copy()]))) == ["verified"]
    assert ann.api.put(f"/blocks/{bob.user_id}").status_code == 204
    assert_problem(ask(ann, chat, messages=[say(bob, chat).copy()]), "not_found", 404)


def test_what_has_expired_is_still_proven(ann: Person, bob: Person, chat: str) -> None:
    """Rows by message id end by their own time, a day later or more; this one is known to them still."""
    old = say(bob, chat, at=now_ms() - LIMITS.retention_ms - 2 * HOUR_MS)
    with transaction.atomic():
        while store.expire(now_ms(), LIMITS.retention_ms):
            continue
    assert store.find(chat, old.message_id) == 0
    assert verdicts(made(ask(ann, chat, messages=[old.copy()]))) == ["verified"]
    assert verdicts(made(ask(ann, chat, messages=[old.copy(franked=False)]))) == ["unverifiable"]


def test_a_file_is_reported_by_who_was_sent_it(ann: Person, bob: Person, chat: str) -> None:
    media, message = file_of(bob, chat)
    report = made(ask(ann, chat, "media", mediaId=str(media.pk), messages=[message.copy()]))
    assert (str(report.reported), report.verdict) == (bob.user_id, "verified")
    assert Hold.objects.filter(media=media).exists()
    delete(message)
    made(ask(ann, chat, "media", mediaId=str(media.pk)))  # who was sent it was, whatever became of it
    assert_problem(ask(sign_in(), chat, "media", mediaId=str(media.pk)), "not_found", 404)


@pytest.mark.parametrize("how", ["away", "frozen"])
def test_nothing_is_written_while_the_node_does_not_answer(
    ann: Person, bob: Person, chat: str, way: Way, how: str
) -> None:
    copies = [say(bob, chat).copy()]
    headers = {"X-Idempotency-Key": str(uuid.uuid4())}
    body = {"kind": "message", "category": "spam", "conversationId": chat, "messages": copies, "block": True}
    (way.away if how == "away" else way.freeze)()
    answer = ann.api.post("/reports", body, headers=headers)
    problem = assert_problem(answer, "unavailable", 503)
    assert problem["retryable"] is True
    assert not Report.objects.filter(reporter=ann.user_id).exists()
    assert not Case.objects.filter(subject=bob.user_id).exists()
    assert not Block.objects.filter(owner_id=ann.user_id).exists()
    assert not KeptAnswer.objects.exists()
    way.back()
    report = made(_patiently(lambda: ann.api.post("/reports", body, headers=headers)))
    assert verdicts(report) == ["verified"]
    assert ann.api.post("/reports", body, headers=headers).json()["reportId"] == str(report.pk)


def _patiently(call: Callable[[], Any]) -> Any:
    """Until the breaker lets somebody ask again."""
    for _ in range(200):
        if (answer := call()).status_code != 503:
            return answer
        threading.Event().wait(0.1)
    return answer


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without"])
def test_who_cannot_be_blocked_now_is_reported_all_the_same(
    ann: Person, bob: Person, chat: str, way: Way, monkeypatch: pytest.MonkeyPatch, key: bool
) -> None:
    """The node goes away between the two."""
    real = reports._store

    def stored(*args: Any) -> Report:
        found = real(*args)
        way.away()
        return found

    monkeypatch.setattr(reports, "_store", stored)
    copies = [say(bob, chat).copy()]
    headers = {"X-Idempotency-Key": str(uuid.uuid4())} if key else {}
    body = {"kind": "message", "category": "spam", "conversationId": chat, "messages": copies, "block": True}
    answer = ann.api.post("/reports", body, headers=headers)
    made(answer)
    assert answer.json()["blocked"] is False
    assert not Block.objects.filter(owner_id=ann.user_id).exists()
