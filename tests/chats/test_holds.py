# ruff: noqa: F811 - fixtures
"""A legal hold: what it keeps through ``DELETE /me``, erasure and retention, and what goes as ever."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Q

from accounts import retention as kept
from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import (
    Account,
    Block,
    Case,
    Contact,
    DeviceKeys,
    LegalHold,
    Photo,
    Prekey,
    Privacy,
    RefreshToken,
    Report,
    ReportedMessage,
)
from accounts.own_stores import copies_of
from accounts.services import erasure, evidence, holds, persons
from accounts.stores import Person as Whose
from accounts.tasks import drop_photos
from delivery.store.sync import store
from groups.tasks import leave_retired
from media.models import Media, State
from media.services import contents
from media.tasks import erase_ended
from tests.accounts.conftest import _memory_layer, assert_problem, clock, limits, parallel  # noqa: F401
from tests.chats.erased import Life, end, is_there, residue
from tests.chats.test_erasure import (  # noqa: F401  (fixtures)
    WAIT,
    _broker_is_away,
    data,
    hot,
    life,
    pass_a_month,
    run,
)
from tests.media.conftest import folder  # noqa: F401
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)

Phase = erasure.State


@pytest.fixture
def log(hot: str) -> Any:
    return lambda: None


def hold(user_id: str, matter: str = "4 Js 117/26", **fields: Any) -> LegalHold:
    given = {"review_at": holds.now_ms() + DAY_MS, "by": "ann of the staff", **fields}
    return holds.place(user_id=uuid.UUID(user_id), matter=matter, **given)


def let_go(row: LegalHold) -> None:
    holds.release(hold=row, by="second", reason="the case is over")


def test_what_delete_me_would_take_stays_and_nobody_sees_it(life: Life, clock: Any, log: Any) -> None:
    ann, bob = life.ann, life.bob
    row = hold(ann.user_id)
    key = end(ann)
    account = Account.objects.get(pk=ann.user_id)
    assert (account.phone, account.name, account.about) == (None, "Ann Rich", "here")
    assert Contact.objects.filter(owner=ann.user_id, user=bob.user_id, nickname="Bob").exists()
    assert Privacy.objects.filter(account=ann.user_id).exists()
    assert Photo.objects.filter(shown_by=ann.user_id).exists()
    flags = store.flags(ann.user_id, life.direct)
    assert flags is not None
    assert flags.flags.draft == b"more"
    identifiers = bytes(erasure.Erasure.objects.get(pk=key).identifiers or b"")
    assert persons.unseal(identifiers, ann.user_id).phone == ann.phone
    # What lets in goes, hold or not.
    for kind in (RefreshToken, DeviceKeys, Prekey):
        assert not kind._default_manager.filter(device__user=ann.user_id).exists(), kind
    assert_problem(ann.api.get("/me"), "unauthenticated", 401)
    assert_problem(bob.api.get(f"/users/{ann.user_id}"), "not_found", 404)
    assert_problem(bob.api.get(f"/users/{ann.user_id}/photo"), "not_found", 404)
    # And all of it goes with the hold.
    leave_retired()
    pass_a_month(clock, log)
    assert run(key) == [Phase.HELD]
    drop_photos()
    assert Photo.objects.filter(shown_by=ann.user_id).exists()
    let_go(row)
    assert erasure.due(erasure.now_ms()) == [key], "at once, not an hour later"
    assert run(key)[-1] == Phase.DONE
    found, said = residue(ann)
    assert not found, said
    assert str(LegalHold.objects.get(pk=row.pk).user) != ann.user_id


def test_without_a_hold_it_goes_at_once(life: Life) -> None:
    """The twin."""
    let_go(hold(life.ann.user_id))
    end(life.ann)
    assert Account.objects.get(pk=life.ann.user_id).name == ""
    assert not Contact.objects.filter(owner=life.ann.user_id).exists()
    assert not Block.objects.filter(owner=life.ann.user_id).exists()
    assert not Photo.objects.filter(account=life.ann.user_id).exists()


class Placing:
    """A store with three things, in the midst of whose erasure a hold is placed."""

    name = "aaa-placing"

    def __init__(self, user_id: str) -> None:
        self.user_id, self.left = user_id, 3

    def erase(self, person: Whose, *, now: int) -> int:
        if self.left == 3:
            hold(self.user_id)
        self.left -= 1
        return now if self.left else 0

    def export(self, person: Whose) -> Iterator[Any]:
        return iter(())

    def leftovers(self, people: Any) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize("seen", [True, False])
def test_a_hold_during_a_step_is_seen_before_the_next_thing_goes(
    life: Life, clock: Any, log: Any, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """``seen`` off: the twin, that asks once a step."""
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    placing = Placing(life.ann.user_id)
    monkeypatch.setattr(erasure, "_order", lambda: [placing, *sorted_stores()])
    if not seen:
        asked = iter([False])
        monkeypatch.setattr(erasure, "_held", lambda user: next(asked, False))
    state = erasure.step(key)
    assert (state == Phase.HELD) is seen
    assert (placing.left == 2) is seen
    assert is_there(life.ann)


def sorted_stores() -> list[Any]:
    from accounts import stores

    return sorted(stores.all_stores(), key=lambda one: (getattr(one, "last", False), one.name))


def test_delete_me_and_a_hold_at_once_lose_nothing_between_them(life: Life) -> None:
    """Whoever comes first: the profile is there with a hold, or was gone before it."""
    placed: list[int] = []

    def place() -> None:
        placed.append(hold(life.ann.user_id).placed_at)

    def finish() -> None:
        end(life.ann)

    acts = iter([place, finish])
    parallel(2, lambda: next(acts)())
    account = Account.objects.get(pk=life.ann.user_id)
    assert placed
    assert account.retired_at is not None
    kept_all = Contact.objects.filter(owner=life.ann.user_id).exists()
    assert (account.name == "Ann Rich") is kept_all


def test_files_of_somebody_who_is_held_stay(life: Life, clock: Any, log: Any) -> None:
    row = hold(life.ann.user_id)
    end(life.ann)
    pass_a_month(clock, log)
    clock(WAIT)
    erase_ended()
    contents.drop_unused(now_ms() + 2 * WAIT)
    assert Media.objects.get(pk=life.media).state == State.READY
    let_go(row)
    contents.drop_unused(now_ms() + 4 * WAIT)
    assert Media.objects.get(pk=life.media).state == State.GONE


def test_evidence_of_a_party_who_is_held_stays(life: Life, clock: Any) -> None:
    now = now_ms()
    for who in (life.ann, life.bob):
        case = Case.objects.create(
            subject_kind="user", subject=uuid.uuid4(), category="spam", opened_at=1, due_at=1, state="closed", closed_at=1
        )  # fmt: skip
        Report.objects.filter(reporter=who.user_id).update(case=case)
    row = hold(life.ann.user_id)
    assert evidence.purge(now) == 0, "Ann is a party to both"
    assert kept.unpurged(now).count() == 0
    assert not any(
        policy.due(now).exists() for policy in kept.POLICIES if policy.name == "closed_cases" and policy.due
    )
    let_go(row)
    assert evidence.purge(now) == 2
    assert all(not each.content for each in ReportedMessage.objects.all())


def test_what_cannot_be_held_is_refused(life: Life) -> None:
    user = life.ann.user_id
    row = hold(user)
    for code, fields in (
        ("conflict", {}),
        ("not_found", {"user_id": str(uuid.uuid4())}),
        ("bad_request", {"review_at": now_ms() - 1}),
        ("bad_request", {"review_at": now_ms() + 400 * DAY_MS}),
    ):
        with pytest.raises(Refused) as refused:
            hold(**{"user_id": user, **fields})
        assert refused.value.code == code
    other = hold(user, "another matter")
    let_go(row)
    assert holds.is_held(user), "one of two"
    let_go(other)
    assert not holds.is_held(user)
    for again in (lambda: let_go(row), lambda: holds.move_review(hold=row, review_at=now_ms() + DAY_MS)):
        with pytest.raises(Refused) as refused:
            again()
        assert refused.value.code == "conflict"


def test_holds_past_their_review_are_counted(life: Life, clock: Any) -> None:
    row = hold(life.ann.user_id)
    assert holds._current() == (1, 0)
    assert list(holds.unreviewed(now_ms() + 2 * DAY_MS)) == [row]
    holds.move_review(hold=row, review_at=now_ms() + 10 * DAY_MS)
    assert not holds.unreviewed(now_ms() + 2 * DAY_MS).exists()


def _reports_between(life: Life, ended: str) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """(by or about who is held, others) of those to which the account that ends is a party."""
    parties = Q(reporter=ended) | Q(reported=ended)
    other = life.bob.user_id
    kept = Report.objects.filter(parties).filter(Q(reporter=other) | Q(reported=other))
    return list(kept.values_list("pk", flat=True)), list(
        Report.objects.filter(parties).exclude(pk__in=kept).values_list("pk", flat=True)
    )


def test_a_report_of_who_is_held_outlives_the_other_one(life: Life, clock: Any, log: Any) -> None:
    """Bob is held and has reported Ann, and she him: her erasure takes all the rest, and these with his hold."""
    ann, bob = life.ann, life.bob
    stranger = Report.objects.create(
        kind="user", category="spam", reporter=uuid.uuid4(), reported=ann.user_id, created_at=now_ms()
    )
    row = hold(bob.user_id)
    key = end(ann)
    kept, others = _reports_between(life, ann.user_id)
    assert len(kept) == 2
    assert others == [stranger.pk]
    leave_retired()
    pass_a_month(clock, log)
    assert run(key) == [Phase.HELD]
    for report in Report.objects.filter(pk__in=kept):
        assert ann.user_id in (str(report.reporter), str(report.reported))
        assert report.note
        assert [bytes(copy.content) for copy in report.messages.all()] == [b"call me"]
    stranger.refresh_from_db()
    assert stranger.reported is None
    assert not Contact.objects.filter(Q(owner=ann.user_id) | Q(user=ann.user_id)).exists()
    assert not Media.objects.filter(owner=ann.user_id).exists()
    clock(100 * DAY_MS)
    assert erasure.tell_overdue(erasure.now_ms()) == 0, "a hold is no delay of ours"
    let_go(row)
    assert run(key)[-1] == Phase.DONE
    found, said = residue(ann)
    assert not found, said


def test_copies_of_somebody_are_found_by_an_index(life: Life) -> None:
    """However many reports there are: an erasure asks for them again and again."""
    user = uuid.UUID(life.ann.user_id)
    asked = [*copies_of(user), holds.reported_messages().filter(sender=user)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for plan in [rows.explain() for rows in asked]:
            assert "Seq Scan on accounts_report" not in plan, plan
            assert "accounts_reported" in plan, plan
