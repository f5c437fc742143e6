# ruff: noqa: F811 - fixtures
"""Records in the admin: legal holds that one places and two release, and metadata for an authority that two let go, once."""

from __future__ import annotations

import base64
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from accounts import lawful_rows
from accounts.archives import ArchivesUnavailable
from accounts.export_rows import lines
from accounts.limits import DAY_MS
from accounts.models import Account, LawfulRequest, LegalHold
from accounts.own_stores import AccountStore
from accounts.services import erasure, lawful
from accounts.stores import Person as Whose
from accounts.tasks import exports_waiting, lawful_waiting
from tests.accounts.conftest import Person, clock, limits  # noqa: F401
from tests.chats.erased import TOKEN, rich_life
from tests.chats.test_erasure import _broker_is_away, data, hot, log  # noqa: F401  (fixtures)
from tests.media.conftest import folder  # noqa: F401
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.staff.lawful import link
from whatsapp.staff.models import Approval, AuditRecord

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Staff]
REASON = "the court has said so"
HOLDS = ("accounts.view_legalhold", "accounts.place_hold", "accounts.release_hold")
LAWFUL = ("accounts.view_lawfulrequest", "accounts.ask_lawfulrequest", "accounts.approve_lawfulrequest")
State = LawfulRequest.State


def decide(staff: Staff, act: str = "approve") -> None:
    waiting = Approval.objects.get(state="waiting")
    staff.client.post(f"/admin/approvals/{waiting.pk}/", {act: "", "reason": REASON})


def test_a_hold_is_placed_by_one_and_released_by_two(make_staff: Make, valkey_server: Any) -> None:
    one, other = make_staff(*HOLDS), make_staff(*HOLDS)
    user = str(Account.objects.create(phone="+15550001").pk)
    form = {"user": user, "matter": "4 Js 117/26", "days": "30", "reason": REASON}
    assert one.client.post("/admin/accounts/legalhold/place/", {**form, "user": "x"}).status_code == 200
    assert (
        one.client.post("/admin/accounts/legalhold/place/", {**form, "user": str(uuid.uuid4())}).status_code
        == 200
    )
    assert LegalHold.objects.count() == 0
    assert one.client.post("/admin/accounts/legalhold/place/", form).status_code == 302
    hold = LegalHold.objects.get()
    assert (str(hold.user), hold.placed_by) == (user, one.user.username)
    path = f"/admin/accounts/legalhold/{hold.pk}"
    assert one.client.post(f"{path}/review/", {"days": "200", "reason": REASON}).status_code == 302
    hold.refresh_from_db()
    assert abs(hold.review_at - now_ms() - 200 * DAY_MS) < 60_000
    assert one.client.post(f"{path}/release/", {"reason": REASON}).status_code == 302
    assert f"asked for by {one.user.username}" in other.page(f"{path}/change/")
    decide(one)  # who asked does not decide
    hold.refresh_from_db()
    assert hold.released_at is None
    assert "4 Js 117/26" in other.page(f"/admin/approvals/{Approval.objects.get().pk}/")
    decide(other)
    hold.refresh_from_db()
    assert hold.released_at is not None
    assert hold.released_by == other.user.username
    said = set(AuditRecord.objects.filter(object_id=str(hold.pk)).values_list("action", flat=True))
    assert {"hold.placed", "hold.reviewed", "hold.released"} <= said
    assert "4 Js 117/26" in one.page("/admin/accounts/legalhold/?q=4 Js 117/26")


def test_who_may_not_does_not(make_staff: Make, valkey_server: Any) -> None:
    looker = make_staff("accounts.view_legalhold", "accounts.view_lawfulrequest")
    for path in ("/admin/accounts/legalhold/place/", "/admin/accounts/lawfulrequest/ask/"):
        looker.page(path, status=403)
        assert looker.client.post(path, {"reason": REASON}).status_code == 403
    assert (LegalHold.objects.count(), LawfulRequest.objects.count()) == (0, 0)


def ask(staff: Staff, *users: str, **fields: Any) -> Any:
    days = {"since": "2020-01-01", "until": "2020-02-01", **fields}
    form = {
        "authority": "Local Court",
        "reference": "4 Js 118/26",
        "legal_basis": "section 100g",
        "reason": REASON,
    }
    return staff.client.post("/admin/accounts/lawfulrequest/ask/", {**form, "users": " ".join(users), **days})


def planted(person: Person) -> list[bytes]:
    """What must not be in a file, as it is and as base64: what was written, called, planted as a token or a name."""
    texts = [
        b"hello", b"who comes?", b"yes?", b"Ann Rich", b"Sailing", b"Annie", TOKEN.encode(), person.token.encode(),
        person.refresh_token.encode(), b"call me", b"it was not me",
    ]  # fmt: skip
    return [*texts, *(base64.b64encode(text).rstrip(b"=")[:-1] for text in texts)]


def test_metadata_for_an_authority_takes_two_is_fetched_once_and_has_no_content(
    make_staff: Make, hot: Any, data: Any, folder: Any, log: Any
) -> None:
    life = rich_life(hot)
    ann, bob = life.ann, life.bob
    one, other = make_staff(*LAWFUL), make_staff(*LAWFUL)
    for wrong in ({"users": "x"}, {"since": "2020-03-01"}, {"until": "2031-01-01"}, {"since": "2010-01-01"}):
        assert ask(one, ann.user_id, **wrong).status_code == 200
    assert ask(one, ann.user_id, str(uuid.uuid4())).status_code == 200
    assert LawfulRequest.objects.count() == 0
    today = LogEntry.objects.latest("pk").action_time.strftime("%Y-%m-%d")
    before = now_ms()
    assert ask(one, ann.user_id, since=today, until=today).status_code == 302
    row = LawfulRequest.objects.get()
    decide(one)
    row.refresh_from_db()
    assert (row.state, lawful.build(row.pk)) == (State.ASKED, False), (
        "nothing is made before two have said so"
    )
    decide(other)
    row.refresh_from_db()
    assert (row.state, row.asked_by, row.approved_by) == (
        State.BUILDING,
        one.user.username,
        other.user.username,
    )
    assert lawful.building(now_ms()) == [row.pk], "a lost task is found"
    assert lawful.build(row.pk)
    row.refresh_from_db()
    path = f"/admin/accounts/lawfulrequest/{row.pk}"
    assert "Fetch…" in one.page(f"{path}/change/")
    answer = one.client.post(f"{path}/fetch/", {"reason": REASON})
    assert answer.status_code == 302
    assert other.client.get(answer.url).status_code == 403, "the link is another one's"
    assert one.client.get(answer.url.split("?")[0]).status_code == 403
    fetched = one.client.get(answer.url)
    assert fetched.status_code == 200
    assert one.client.get(answer.url).status_code == 404, "once"
    row.refresh_from_db()
    assert (row.state, row.fetched_by) == (State.FETCHED, one.user.username)
    assert "Fetch…" not in one.page(f"{path}/change/")
    assert b"".join(lawful.archives().read(row.pk.hex)) == b"", "the file is gone"
    assert [
        *AuditRecord.objects.filter(object_id=str(row.pk)).order_by("pk").values_list("action", flat=True)
    ] == [
        "lawful.link",
        "lawful.fetched",
    ]

    archive = zipfile.ZipFile(io.BytesIO(fetched.content))
    folder_of = f"users/{ann.user_id}"

    def rows(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in archive.read(f"{folder_of}/{name}.jsonl").splitlines()]

    (registered,) = rows("registration")
    assert (registered["phoneNumber"], registered["endedAt"]) == (ann.phone, None)
    assert [device["deviceId"] for device in rows("devices")] == [ann.device_id]
    assert rows("sessions")
    with_whom = {each["conversationId"]: each for each in rows("conversations")}
    assert with_whom[life.direct]["with"] == [bob.user_id]
    assert with_whom[life.direct]["written"][bob.user_id] >= 1
    assert with_whom[life.group]["with"] == [bob.user_id]
    messages = [each for each in rows("messages") if each["conversationId"] == life.direct]
    assert {each["from"] for each in messages} == {ann.user_id, bob.user_id}
    assert all(set(each) == {"conversationId", "from", "at"} for each in messages)
    assert all(before - 600_000 < each["at"] <= now_ms() for each in messages)
    everything = b"".join(archive.read(name) for name in archive.namelist())
    for secret in [*planted(ann), bob.phone.encode(), bob.device_id.encode()]:
        assert secret not in everything, secret


def request_for(user: str, **fields: Any) -> LawfulRequest:
    given = {
        "authority": "a", "reference": "r", "legal_basis": "b", "users": [user], "since": 1, "until": now_ms(),
        "asked_by": "one", "asked_at": now_ms(), "state": State.BUILDING,
    }  # fmt: skip
    return LawfulRequest.objects.create(**{**given, **fields})


def test_the_planted_would_be_found(make_staff: Make, hot: Any, data: Any, folder: Any) -> None:
    """The twin: of the person's own export most of it is found."""
    from accounts import exported_log, stores

    life = rich_life(hot)
    person = Whose(life.ann.user_id)
    parts = [part for store in stores.all_stores() for part in store.export(person)]
    everything = b"".join(b"".join(part.data) for part in [*parts, *exported_log.parts(person)])
    assert sum(secret in everything for secret in planted(life.ann)) > 4


def test_a_storage_that_is_away_a_time_that_is_over_and_a_worker_that_died(
    hot: Any, data: Any, folder: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = str(Account.objects.create(phone="+15550002").pk)
    row = request_for(user)
    with monkeypatch.context() as patched:
        patched.setattr("media.archives.storage", lambda: _away())
        assert not lawful.build(row.pk)
    assert lawful.building(now_ms()) == [], "later"
    LawfulRequest.objects.update(leased_until=now_ms() + lawful.LEASE_MS)  # a worker has it
    assert not lawful.build(row.pk)
    LawfulRequest.objects.update(leased_until=now_ms())
    assert lawful.build(row.pk)
    assert not lawful.build(row.pk)
    clock(4 * DAY_MS)
    lawful_waiting()
    row.refresh_from_db()
    assert (row.state, row.expires_at) == (State.EXPIRED, None)
    assert b"".join(lawful.archives().read(row.pk.hex)) == b""


@pytest.mark.parametrize("taken", [False, True])
def test_who_works_for_long_keeps_it_and_who_has_lost_it_leaves_nothing(
    hot: Any, data: Any, folder: Any, clock: Any, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    row = request_for(str(Account.objects.create(phone="+15550005").pk))

    def slow(user: str, *_: Any) -> Any:
        for number in range(3):
            clock(lawful.LEASE_MS // 2)
            if taken:
                LawfulRequest.objects.update(worker=uuid.uuid4())
            assert taken or lawful.building(lawful.now_ms()) == []
            yield lines(f"users/{user}/{number}.jsonl", [{"random": uuid.uuid4().hex} for _ in range(5_000)])

    monkeypatch.setattr(lawful_rows, "_parts", slow)
    assert lawful.build(row.pk) is not taken
    assert bool(b"".join(lawful.archives().read(row.pk.hex))) is not taken


def test_it_is_kept_for_its_own_time(hot: Any, data: Any, folder: Any, clock: Any, limits: Any) -> None:
    """It lies where exports do, which may be kept for less."""
    limits(export_kept_ms=DAY_MS, lawful_kept_ms=5 * DAY_MS)
    row = request_for(str(Account.objects.create(phone="+15550006").pk))
    assert lawful.build(row.pk)
    clock(4 * DAY_MS)
    exports_waiting()
    assert b"".join(lawful.archives().read(row.pk.hex))


def _away() -> Any:
    raise ArchivesUnavailable


def test_of_the_erased_only_that_somebody_asked_stays(
    hot: Any, data: Any, folder: Any, make_staff: Make
) -> None:
    one, two = (str(Account.objects.create(phone=f"+1555000{number}").pk) for number in (3, 4))
    row = request_for(one, users=[one, two])
    Account.objects.filter(pk=one).update(retired_at=1)
    while AccountStore().erase(Whose(one), now=1):
        pass
    row.refresh_from_db()
    assert row.users == [two]
    staff = make_staff(*LAWFUL)
    ready = request_for(two, state=State.READY, expires_at=now_ms() - 1)
    assert staff.client.get(link(ready, staff.user)).status_code == 404
    assert erasure.State.HELD
