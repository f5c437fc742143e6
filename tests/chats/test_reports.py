"""POST /reports: who may report what, what their copies are worth, and what is kept of them."""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction

from accounts import evidence
from accounts.models import Account, Block, Case, KeptAnswer, Report, ReportedMessage
from accounts.services.blocks import MAX_BLOCKS
from delivery.franking import Place, Said, commitment, tag
from delivery.store.sync import store
from delivery.store.values import Outcome, Send
from media.models import Hold, Media, Reference, State
from media.services import contents
from tests.accounts.conftest import Person, assert_problem, parallel
from tests.chats.conftest import open_direct
from tests.groups.conftest import make, sign_in
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Sent:
    """A message as whoever was sent it has it, opened."""

    conversation: str
    sender: Person
    message_id: str
    at: int
    content: bytes
    key: bytes
    kind: str = "text"
    media_url: str = ""

    @property
    def place(self) -> Place:
        return Place(self.conversation, self.message_id, self.sender.user_id, self.sender.device_id, self.at)

    @property
    def franking(self) -> bytes:
        return commitment(self.key, Said(self.content, self.kind, self.media_url))

    def copy(self, *, franked: bool = True, **changes: Any) -> dict[str, Any]:
        """What a client puts into a report; ``changes`` by field."""
        found: dict[str, Any] = {
            "messageId": self.message_id,
            "conversationId": self.conversation,
            "senderId": self.sender.user_id,
            "senderDeviceId": self.sender.device_id,
            "serverTimestamp": self.at,
            "kind": self.kind,
            "content": text(self.content),
        }
        if self.media_url:
            found["mediaUrl"] = self.media_url
        if franked:
            found |= {
                "frankingKey": text(self.key),
                "franking": text(self.franking),
                "frankingTag": text(tag(settings.FRANKING_KEYS, self.franking, self.place)),
            }
        return {**found, **changes}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def say(
    person: Person,
    conversation: str,
    content: bytes = b"buy this",
    *,
    encrypted: bool = True,
    at: int = 0,
    media_url: str = "",
    name: str = "",
    **fields: Any,
) -> Sent:
    """As a gateway stores it: what is encrypted is something else in the log. ``fields``: of :class:`Send`."""
    at, name = at or now_ms(), name or str(uuid.uuid4())
    send = Send(
        conversation=conversation,
        sender=person.user_id,
        device=person.device_id,
        message_id=name,
        kind="text",
        content=secrets.token_bytes(64) if encrypted else content,
        body_hash=b"0" * 16,
        sent_at=1,
        **fields,
    )
    with transaction.atomic():
        (result,) = store.append(str(uuid.uuid4()), [send], at).results
    assert result.outcome == Outcome.STORED
    return Sent(conversation, person, name, at, content, secrets.token_bytes(32), media_url=media_url)


def ask(person: Person, conversation: str, kind: str = "message", **fields: Any) -> Any:
    body = {"kind": kind, "category": "spam", "conversationId": conversation, **fields}
    return person.api.post("/reports", body)


def made(answer: Any) -> Report:
    assert answer.status_code == 201, answer.content
    assert set(answer.json()) == {"reportId", "blocked", "left"}
    return Report.objects.get(pk=answer.json()["reportId"])


def verdicts(report: Report) -> list[str]:
    return list(report.messages.order_by("position").values_list("verdict", flat=True))


@pytest.fixture
def ann() -> Person:
    return sign_in()


@pytest.fixture
def bob() -> Person:
    return sign_in()


@pytest.fixture
def chat(ann: Person, bob: Person) -> str:
    return open_direct(bob, ann)


# -- what is stored -------------------------------------------------------------------------------------------------------


def test_messages_are_reported_with_ones_own_copy_of_them(ann: Person, bob: Person, chat: str) -> None:
    first, own, last = say(bob, chat, b"one"), say(ann, chat, b"no"), say(bob, chat, b"two")
    copies = [each.copy() for each in (first, own, last)]
    report = made(ask(ann, chat, category="fraud", note="he tricks people", messages=copies))
    assert (report.kind, report.category, report.verdict) == ("message", "fraud", "verified")
    assert (str(report.reporter), str(report.reported)) == (ann.user_id, bob.user_id)
    assert evidence.note_of(report) == "he tricks people"
    rows = list(report.messages.order_by("position"))
    assert [evidence.content_of(row) for row in rows] == [b"one", b"no", b"two"]
    assert [str(row.sender) for row in rows] == [bob.user_id, ann.user_id, bob.user_id]
    case = Case.objects.get(subject=bob.user_id)
    assert (report.case, case.report_count, case.category, case.verified) == (case, 1, "fraud", True)


def test_what_is_kept_is_sealed(ann: Person, bob: Person, chat: str) -> None:
    words = b"a sentence that nobody else writes"
    report = made(ask(ann, chat, note=words.decode(), messages=[say(bob, chat, words).copy()]))
    with connection.cursor() as cursor:
        for table in ("accounts_report", "accounts_reportedmessage"):
            cursor.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", [f"%{words.decode()}%"])
            assert cursor.fetchone() == (0,)
            cursor.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", [f"%{words.hex()}%"])
            assert cursor.fetchone() == (0,)
    # Neither opens in another place.
    row = report.messages.get()
    row.position = 1
    assert evidence.content_of(row) is None
    other = Report(note=report.note)
    assert evidence.note_of(other) == ""


def test_a_user_a_group_and_a_message_of_a_group(ann: Person, bob: Person) -> None:
    eve = sign_in()
    group = make(bob, ann, eve)
    assert str(made(ask(ann, group, "user", userId=eve.user_id)).reported) == eve.user_id
    of_group = made(ask(ann, group, "group"))
    assert (of_group.reported, str(of_group.conversation)) == (None, group)
    assert Case.objects.get(subject=group).subject_kind == "group"
    said = [say(eve, group).copy(), say(bob, group).copy()]
    assert str(made(ask(ann, group, messages=said)).reported) == eve.user_id
    assert str(made(ask(ann, group, messages=said, userId=bob.user_id)).reported) == bob.user_id


@pytest.mark.parametrize(
    "address",
    ["\x00", " ", "\x85", " https://a.example/\x00b\n", "x" * 2_048],
    ids=["nul", "blank", "blank too", "nul within", "long"],
)
def test_no_address_makes_a_message_that_nobody_can_report(
    ann: Person, bob: Person, chat: str, address: str
) -> None:
    """Senders choose it, and their commitment covers it: a reporter has to give it as it is."""
    report = made(ask(ann, chat, messages=[say(bob, chat, media_url=address).copy()]))
    assert verdicts(report) == ["verified"]


@pytest.mark.parametrize("size", [0, LIMITS.content_bytes - 1, LIMITS.content_bytes])
def test_no_length_makes_a_message_that_nobody_can_report(
    ann: Person, bob: Person, chat: str, size: int
) -> None:
    sent = say(bob, chat, b"x " * (size // 2) + b"x" * (size % 2), encrypted=False)
    assert verdicts(made(ask(ann, chat, messages=[sent.copy(franked=False)]))) == ["verified"]


# -- who may --------------------------------------------------------------------------------------------------------------


def test_only_who_was_sent_it(ann: Person, bob: Person, chat: str) -> None:
    eve, sent = sign_in(), say(bob, chat)
    nothing = assert_problem(ask(eve, str(uuid.uuid4()), messages=[sent.copy()]), "bad_request", 400)
    assert "messages" in nothing["detail"] or nothing["details"]
    for kind, fields in (
        ("message", {"messages": [sent.copy()]}),
        ("user", {"userId": bob.user_id}),
        ("group", {}),
        ("media", {"mediaId": str(uuid.uuid4())}),
    ):
        known = ask(eve, chat, kind, **fields)
        assert_problem(known, "not_found", 404)
        fields.pop("messages", None)
        if kind != "message":
            unknown = ask(eve, str(uuid.uuid4()), kind, **fields)
            assert unknown.content == known.content, "one cannot tell theirs from none"
    assert not Report.objects.filter(reporter=eve.user_id).exists()


def test_only_users_whom_one_met_there(ann: Person, bob: Person, chat: str) -> None:
    eve = sign_in()
    assert_problem(ask(ann, chat, "user", userId=eve.user_id), "not_found", 404)
    assert_problem(ask(ann, chat, "user", userId=str(uuid.uuid4())), "not_found", 404)
    assert_problem(ask(ann, chat, "user"), "bad_request", 400)
    assert_problem(ask(ann, chat, "user", userId=ann.user_id), "bad_request", 400)
    assert_problem(ask(ann, chat, messages=[say(ann, chat).copy()]), "bad_request", 400)
    assert_problem(ask(ann, chat, messages=[]), "bad_request", 400)
    assert_problem(ask(ann, chat, "group"), "bad_request", 400)


def test_members_report_what_they_were_sent_and_nothing_of_before_or_after(ann: Person, bob: Person) -> None:
    group = make(bob, sign_in())
    before = say(bob, group)
    assert bob.api.put(f"/groups/{group}/members/{ann.user_id}", {}).status_code == 200
    during = say(bob, group)
    assert ann.api.delete(f"/groups/{group}/members/{ann.user_id}").status_code == 204
    after = say(bob, group)
    for other in (before, after):
        assert_problem(ask(ann, group, messages=[other.copy()]), "not_found", 404)
    assert verdicts(made(ask(ann, group, messages=[during.copy()]))) == ["verified"]  # who left still may
    made(ask(ann, group, "group"))


def test_what_was_withheld_from_one_is_not_ones_to_report(ann: Person, bob: Person, chat: str) -> None:
    assert ann.api.put(f"/blocks/{bob.user_id}").status_code == 204
    assert_problem(ask(ann, chat, messages=[say(bob, chat).copy()]), "not_found", 404)
    assert made(ask(ann, chat, "user", userId=bob.user_id))


def test_a_group_by_who_holds_an_invite(ann: Person, bob: Person) -> None:
    group, other = make(bob, sign_in()), make(bob, sign_in())
    code = bob.api.post(f"/groups/{group}/invites", {}).json()["code"]
    assert_problem(ask(ann, group, "group"), "not_found", 404)
    assert_problem(ask(ann, other, "group", inviteCode=code), "not_found", 404)
    assert_problem(ask(ann, group, "group", inviteCode="x" * 22), "not_found", 404)
    assert_problem(ask(ann, group, "user", userId=bob.user_id, inviteCode=code), "not_found", 404)
    assert_problem(ask(ann, group, "group", inviteCode=code, leave=True), "bad_request", 400)
    made(ask(ann, group, "group", inviteCode=code))
    assert bob.api.delete(f"/groups/{group}/invites/{code}").status_code == 204
    assert_problem(ask(ann, group, "group", inviteCode=code), "gone", 410)


def test_the_reported_are_told_nothing(ann: Person, bob: Person, chat: str, told: Any) -> None:
    read = told(bob.user_id)
    report = made(ask(ann, chat, messages=[say(bob, chat).copy()]))
    made(ask(ann, chat, "user", userId=bob.user_id))
    assert read() == []
    for path in ("/me", f"/users/{ann.user_id}", "/conversations", f"/conversations/{chat}/events"):
        assert str(report.pk) not in bob.api.get(path).content.decode()


# -- what copies are worth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"content": text(b"something else")},
        {"kind": "poll"},
        {"replyTo": str(uuid.UUID(int=7))},
        {"mediaUrl": "https://example.org/"},
        {"serverTimestamp": 1_700_000_000_000},
        {"frankingKey": text(bytes(32))},
        {"franking": text(bytes(32))},
        {"frankingTag": text(bytes(40))},
        {"frankingTag": ""},
        {"senderDeviceId": str(uuid.UUID(int=7))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_who_changes_anything_of_a_franked_message_is_found_out(
    ann: Person, bob: Person, chat: str, change: dict[str, Any]
) -> None:
    good, bad = say(bob, chat), say(bob, chat)
    report = made(ask(ann, chat, category="child_safety", messages=[good.copy(), bad.copy(**change)]))
    assert verdicts(report) == ["verified", "forged"]
    assert (report.verdict, report.weight, report.counts) == ("forged", 0, False)
    case = Case.objects.get(subject=bob.user_id)
    assert (case.priority, case.weight, case.report_count, case.category) == (0, 0, 0, "other")
    assert made(ask(ann, chat, messages=[good.copy()])).weight == 40  # the next one counts less


def test_words_of_one_are_not_anothers(ann: Person, bob: Person) -> None:
    eve = sign_in()
    group = make(bob, ann, eve)
    sent = say(bob, group)
    for franked in (True, False):
        report = made(
            ask(ann, group, messages=[sent.copy(franked=franked, senderId=eve.user_id)], userId=eve.user_id)
        )
        assert verdicts(report) == ["forged"]


def test_without_franking_nothing_is_proven_unless_the_log_says_the_same(
    ann: Person, bob: Person, chat: str
) -> None:
    hidden, seen = say(bob, chat), say(bob, chat, encrypted=False)
    assert verdicts(made(ask(ann, chat, messages=[hidden.copy(franked=False)]))) == ["unverifiable"]
    assert verdicts(made(ask(ann, chat, messages=[seen.copy(franked=False)]))) == ["verified"]
    other = hidden.copy(franked=False, content=text(b"what he did not write"))
    assert verdicts(made(ask(ann, chat, messages=[other]))) == ["unverifiable"]


def test_words_that_the_server_can_read_are_found_to_be_changed(ann: Person, bob: Person, chat: str) -> None:
    seen = say(bob, chat, encrypted=False)
    changed = seen.copy(franked=False, content=text(b"what he did not write"))
    report = made(ask(ann, chat, category="child_safety", messages=[changed]))
    assert (report.verdict, report.counts) == ("forged", False)
    assert Case.objects.get(subject=bob.user_id).priority == 0


def test_a_report_is_proven_by_what_the_accused_wrote_alone(ann: Person, bob: Person, chat: str) -> None:
    copies = [say(ann, chat).copy(), say(bob, chat).copy(franked=False)]
    report = made(ask(ann, chat, messages=copies))
    assert (verdicts(report), report.verdict) == (["verified", "unverifiable"], "unverifiable")
    assert not Case.objects.get(subject=bob.user_id).verified


def test_a_message_that_has_expired_is_still_proven(ann: Person, bob: Person, chat: str) -> None:
    old = say(bob, chat, at=now_ms() - LIMITS.retention_ms - DAY_MS)
    with transaction.atomic():
        while store.expire(now_ms(), LIMITS.retention_ms):
            continue
    assert store.find(chat, old.message_id) == 0
    assert verdicts(made(ask(ann, chat, messages=[old.copy()]))) == ["verified"]
    assert verdicts(made(ask(ann, chat, messages=[old.copy(franked=False)]))) == ["unverifiable"]


def test_a_message_that_was_never_sent_is_no_evidence(ann: Person, bob: Person, chat: str) -> None:
    never = replace(say(bob, chat), message_id=str(uuid.uuid4()))
    assert_problem(ask(ann, chat, messages=[never.copy()]), "not_found", 404)


# -- limits, repeats, bad input -------------------------------------------------------------------------------------------


def test_reports_are_limited_by_hour_and_day(
    ann: Person, bob: Person, chat: str, limits: Any, clock: Any
) -> None:
    limits(reports_per_hour=2, reports_per_day=3)
    for _ in range(2):
        made(ask(ann, chat, "user", userId=bob.user_id))
    answer = assert_problem(ask(ann, chat, "user", userId=bob.user_id), "rate_limited", 429)
    assert 0 < answer["retryAfterMs"] <= 3_600_000
    clock(3_600_000)
    # What the limit refuses does not count; what is refused for another reason does.
    ann_later = _again(ann)
    assert_problem(ask(ann_later, chat, "user", userId=str(uuid.uuid4())), "not_found", 404)
    assert_problem(ask(ann_later, chat, "user", userId=bob.user_id), "rate_limited", 429)


def _again(person: Person) -> Person:
    """With a token of now: the clock went on."""
    from accounts.models import Device
    from accounts.services.sessions import start_session

    tokens = start_session(device=Device.objects.get(pk=person.device_id), now=now_ms() + 3_600_000)
    return replace(person, token=tokens.token)


def test_a_report_is_small(ann: Person, bob: Person, chat: str, limits: Any) -> None:
    copies = [say(bob, chat).copy() for _ in range(LIMITS.report_messages + 1)]
    assert_problem(ask(ann, chat, messages=copies), "bad_request", 400)
    limits(report_bytes=10)
    assert_problem(ask(ann, chat, messages=[say(bob, chat, b"x" * 11).copy()]), "too_large", 413)
    made(ask(ann, chat, messages=[say(bob, chat, b"x" * 10).copy()]))


def test_what_does_not_belong_together_is_refused(ann: Person, bob: Person, chat: str) -> None:
    copy = say(bob, chat).copy()
    for fields in (
        {"messages": [copy, copy]},
        {"messages": [{**copy, "conversationId": str(uuid.uuid4())}]},
        {"messages": [copy], "leave": True},
        {"messages": [copy], "category": "boredom"},
        {"messages": [copy], "note": "x" * 2_001},
        {"messages": [{**copy, "frankingKey": "AA=="}]},
        {"kind": "media"},
        {"kind": "everything"},
    ):
        assert_problem(ask(ann, chat, **fields), "bad_request", 400)
    assert not Report.objects.filter(reporter=ann.user_id).exists()


def test_a_repeat_is_the_first_one(ann: Person, bob: Person, chat: str) -> None:
    body = {"kind": "user", "category": "spam", "conversationId": chat, "userId": bob.user_id, "block": True}
    headers = {"X-Idempotency-Key": str(uuid.uuid4())}
    answers = [ann.api.post("/reports", body, headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert Report.objects.filter(reporter=ann.user_id).count() == 1
    assert KeptAnswer.objects.count() >= 1


def test_ten_people_at_once_flag_one(bob: Person) -> None:
    people = [sign_in() for _ in range(10)]
    chats = [open_direct(bob, person) for person in people]
    pairs = iter(zip(people, chats, strict=True))

    def one() -> int:
        person, chat = next(pairs)
        return int(ask(person, chat, "user", userId=bob.user_id).status_code)

    assert parallel(10, one) == [201] * 10
    case = Case.objects.get(subject=bob.user_id)
    assert (case.report_count, case.flagged_at is not None) == (10, True)


# -- block, leave ---------------------------------------------------------------------------------------------------------


def test_report_block_and_leave_in_one(ann: Person, bob: Person, chat: str) -> None:
    group = make(bob, ann)
    answer = ask(ann, group, messages=[say(bob, group).copy()], block=True, leave=True)
    assert answer.status_code == 201, answer.content
    assert (answer.json()["blocked"], answer.json()["left"]) == (True, True)
    assert Block.objects.filter(owner_id=ann.user_id, user_id=bob.user_id).exists()
    assert_problem(ann.api.get(f"/groups/{group}"), "not_found", 404)
    assert_problem(ask(ann, chat, "group", block=True), "bad_request", 400)


def test_a_full_list_of_blocks_does_not_keep_a_report_out(ann: Person, bob: Person, chat: str) -> None:
    others = Account.objects.bulk_create(Account() for _ in range(MAX_BLOCKS))
    Block.objects.bulk_create(Block(owner_id=ann.user_id, user=other, at=1) for other in others)
    answer = ask(ann, chat, "user", userId=bob.user_id, block=True)
    assert answer.json()["blocked"] is False
    assert made(answer)


# -- files ----------------------------------------------------------------------------------------------------------------


def file_of(person: Person, conversation: str, *, sent: bool = True) -> tuple[Media, Sent]:
    """A file, and the message that carries it."""
    media = Media.objects.create(
        pk=uuid.uuid4(), owner_id=person.user_id, state=State.READY, created_at=now_ms(), look_at=0
    )
    message = say(person, conversation, media_url=f"/media/{media.pk}/content")
    if sent:
        Reference.objects.create(
            media=media,
            conversation_id=conversation,
            sender_id=person.user_id,
            message_id=message.message_id,
            created_at=now_ms(),
        )
    return media, message


def test_a_file_is_reported_by_who_was_sent_it(ann: Person, bob: Person, chat: str) -> None:
    media, message = file_of(bob, chat)
    report = made(ask(ann, chat, "media", mediaId=str(media.pk), messages=[message.copy()]))
    assert (str(report.reported), report.media, report.verdict) == (bob.user_id, media.pk, "verified")
    assert Case.objects.get(subject=media.pk).subject_kind == "media"
    assert report.messages.get().media == media.pk
    for person, where in ((bob, chat), (sign_in(), chat), (ann, open_direct(ann, sign_in()))):
        assert_problem(ask(person, where, "media", mediaId=str(media.pk)), "not_found", 404)


def test_a_reported_file_stays_until_its_case_is_decided(
    ann: Person, bob: Person, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.services.cases.now_ms", now_ms)
    (reported, message), (other, _), (unsent, elsewhere) = (
        file_of(bob, chat),
        file_of(bob, chat),
        file_of(bob, chat, sent=False),
    )
    made(ask(ann, chat, messages=[message.copy(), elsewhere.copy()]))
    assert [hold.media_id for hold in Hold.objects.all()] == [
        reported.pk
    ]  # nobody keeps what they were not sent
    # ... nor has it shown to moderators
    kept = ReportedMessage.objects.order_by("position").values_list("media", flat=True)
    assert list(kept) == [reported.pk, None]
    Reference.objects.all().delete()
    later = now_ms() + 1
    contents.drop_unused(later)
    assert _states(reported, other, unsent) == ["ready", "gone", "gone"]
    assert Media.objects.get(pk=reported.pk).look_at == later + DAY_MS
    case = Case.objects.get(subject=bob.user_id)
    Case.objects.filter(pk=case.pk).update(state="closed")
    contents.drop_unused(later + DAY_MS)
    assert _states(reported) == ["gone"]
    assert not Hold.objects.exists()


def _states(*files: Media) -> list[str]:
    return [Media.objects.get(pk=media.pk).state for media in files]


def test_a_forged_report_keeps_no_file(ann: Person, bob: Person, chat: str) -> None:
    _, message = file_of(bob, chat)
    report = made(ask(ann, chat, messages=[message.copy(content=text(b"other"))]))
    assert report.verdict == "forged"
    assert not Hold.objects.exists()


def test_every_verdict_of_the_franking_can_be_stored() -> None:
    from delivery.franking import Verdict

    assert {each.value for each in Verdict} == set(ReportedMessage.Verdict.values)
