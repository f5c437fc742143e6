"""Reports of messages of which the log holds nothing any more, or shows nothing: whoever does harm deletes first. In either
store."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from django.db import transaction

from delivery.store.sync import store
from delivery.store.values import Amendment, Outcome, PageRequest
from delivery.view import pack_target
from media.models import Hold
from tests.accounts.conftest import Person, assert_problem
from tests.chats.conftest import log_elsewhere
from tests.chats.reporting import Sent, ask, file_of, made, say, text, verdicts
from tests.groups.conftest import make, sign_in
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = msgspec.msgpack.encode({"view_once": True})
CHANGED = text(b"what nobody wrote")
DAY_MS = 86_400_000


@pytest.fixture(
    params=["postgres", pytest.param("cassandra", marks=pytest.mark.needs_cassandra)], autouse=True
)
def where(request: Any, settings: Any) -> Iterator[str]:
    if request.param == "postgres":
        yield "postgres"
        return
    with log_elsewhere(request.getfixturevalue("cassandra_node"), settings):
        yield "cassandra"


def amend(sent: Sent, kind: str, content: bytes = b"", franking: bytes | None = None) -> tuple[str, int]:
    """The id of the event, and when."""
    name, now = str(uuid.uuid4()), now_ms() + 1
    event = Amendment(
        conversation=sent.conversation,
        sender=sent.sender.user_id,
        device=sent.sender.device_id,
        message_id=name,
        kind=kind,
        content=content,
        body_hash=name.encode()[:16],
        sent_at=1,
        extra=pack_target(sent.message_id, franking),
        target=sent.message_id,
    )
    with transaction.atomic():
        (result,) = store.append(str(uuid.uuid4()), [event], now).results
    assert result.outcome == Outcome.STORED
    return name, now


def withdraw(sent: Sent, how: str) -> None:
    """What was sent leaves the log before anybody reports it."""
    if how == "vanished":
        with transaction.atomic():
            assert store.vanish(now_ms() + DAY_MS) == 1
    else:
        amend(sent, "delete")
    (page,) = store.pages([PageRequest(sent.conversation, sent.sender.user_id, 0)])
    assert [one.content for one in page.events if one.message_id == sent.message_id] == [None]


@pytest.mark.parametrize("how", ["deleted", "vanished", "deleted unseen"])
@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "readable"])
def test_what_was_taken_back_is_reported_and_believed_as_far_as_it_is_proven(
    ann: Person, bob: Person, chat: str, how: str, encrypted: bool
) -> None:
    fields = {"lasts": 60_000} if how == "vanished" else {"extra": ONCE} if how == "deleted unseen" else {}
    sent = say(bob, chat, encrypted=encrypted, **fields)
    withdraw(sent, how)
    # What the sender committed to is proven without the log.
    assert verdicts(made(ask(ann, chat, messages=[sent.copy()]))) == ["verified"]
    assert verdicts(made(ask(ann, chat, messages=[sent.copy(content=CHANGED)]))) == ["forged"]
    # Without a commitment nobody knows any more what it said: taken, and believed in nothing.
    for content in (text(sent.content), CHANGED):
        report = made(ask(ann, chat, messages=[sent.copy(franked=False, content=content)]))
        assert (report.verdict, verdicts(report)) == ("unverifiable", ["unverifiable"])
    # But whose it is, and when it came, the log still says.
    for wrong in ({"serverTimestamp": sent.at - 1}, {"senderDeviceId": str(uuid.uuid4())}):
        assert verdicts(made(ask(ann, chat, messages=[sent.copy(franked=False, **wrong)]))) == ["forged"]
    assert_problem(ask(sign_in(), chat, messages=[sent.copy()]), "not_found", 404)


@pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "readable"])
def test_what_may_be_seen_once_is_proven_like_anything_else(
    ann: Person, bob: Person, chat: str, encrypted: bool
) -> None:
    sent = say(bob, chat, encrypted=encrypted, extra=ONCE)
    assert verdicts(made(ask(ann, chat, messages=[sent.copy()]))) == ["verified"]
    plain = "unverifiable" if encrypted else "verified"
    assert verdicts(made(ask(ann, chat, messages=[sent.copy(franked=False)]))) == [plain]


def test_only_who_was_sent_it_reports_what_is_deleted(ann: Person, bob: Person) -> None:
    group, late = make(bob, ann), sign_in()
    sent, hidden = say(bob, group), say(bob, group, encrypted=False)
    assert bob.api.put(f"/groups/{group}/members/{late.user_id}", {}).status_code == 200
    for one in (sent, hidden):
        withdraw(one, "deleted")
        for franked in (True, False):
            copy = one.copy(franked=franked)
            assert_problem(ask(late, group, messages=[copy]), "not_found", 404)
            assert_problem(ask(sign_in(), group, messages=[copy]), "not_found", 404)
            made(ask(ann, group, messages=[copy]))


def test_who_reports_an_edit_that_was_deleted_is_no_forger(ann: Person, bob: Person, chat: str) -> None:
    """It is reported as of the edit, later than the message; a tag of a key that is gone proves nothing either way."""
    sent = say(bob, chat, encrypted=False)
    _, at = amend(sent, "edit", b"worse")
    amend(sent, "delete")
    edited = sent.copy(franked=False, content=text(b"worse"), serverTimestamp=at)
    assert verdicts(made(ask(ann, chat, messages=[edited]))) == ["unverifiable"]


def test_nobody_shields_a_message_by_another_one_with_its_id(ann: Person, bob: Person) -> None:
    """Ids are their sender's own: a friend of who does harm has sent something under the same one, before."""
    eve = sign_in()
    group = make(bob, ann, eve)
    name = str(uuid.uuid4())
    say(eve, group, b"good morning", name=name, encrypted=False)
    for encrypted in (True, False):
        bad = say(bob, group, name=name if encrypted else str(uuid.uuid4()), encrypted=encrypted)
        report = made(ask(ann, group, messages=[bad.copy(franked=encrypted)]))
        assert (verdicts(report), str(report.reported)) == (["verified"], bob.user_id)
    # Nor is what one of them wrote the other's.
    other = say(eve, group, b"fine", encrypted=False)
    stolen = other.copy(franked=False, senderId=bob.user_id, senderDeviceId=bob.device_id)
    assert verdicts(made(ask(ann, group, messages=[stolen]))) == ["forged"]


def test_who_came_later_has_nothing_to_report_of_what_has_expired(ann: Person, bob: Person) -> None:
    group, late = make(bob, ann), sign_in()
    old = say(bob, group, at=now_ms() - LIMITS.retention_ms - DAY_MS)
    with transaction.atomic():
        while store.expire(now_ms() + LIMITS.retention_ms + DAY_MS, LIMITS.retention_ms):
            continue
    assert store.find(group, old.message_id) == 0
    assert bob.api.put(f"/groups/{group}/members/{late.user_id}", {}).status_code == 200
    for franked, verdict in ((True, "verified"), (False, "unverifiable")):
        assert_problem(ask(late, group, messages=[old.copy(franked=franked)]), "not_found", 404)
        assert verdicts(made(ask(ann, group, messages=[old.copy(franked=franked)]))) == [verdict]


def test_the_file_of_a_deleted_message_is_reported_and_stays(ann: Person, bob: Person, chat: str) -> None:
    media, sent = file_of(bob, chat)
    withdraw(sent, "deleted")
    assert_problem(ann.api.get(f"/media/{media.pk}"), "not_found", 404)  # nobody fetches it any more
    for person in (bob, sign_in()):
        assert_problem(ask(person, chat, "media", mediaId=str(media.pk)), "not_found", 404)
    report = made(ask(ann, chat, "media", mediaId=str(media.pk), messages=[sent.copy()]))
    assert (str(report.reported), report.media, report.verdict) == (bob.user_id, media.pk, "verified")
    assert [hold.media_id for hold in Hold.objects.all()] == [media.pk]
    assert report.messages.get().media == media.pk


def test_a_franking_of_another_message_does_not_pass_for_a_deleted_one(
    ann: Person, bob: Person, chat: str
) -> None:
    harmless, gone = say(bob, chat, b"hello"), say(bob, chat, b"buy")
    withdraw(gone, "deleted")
    proof = {name: harmless.copy()[name] for name in ("frankingKey", "franking", "frankingTag")}
    for changes in (
        proof,  # the tag is of another message
        {**proof, "content": text(b"hello")},
        {"frankingKey": text(secrets.token_bytes(32))},
    ):
        assert verdicts(made(ask(ann, chat, messages=[gone.copy(**changes)]))) == ["forged"]
