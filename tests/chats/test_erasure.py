# ruff: noqa: F811 - fixtures
"""From ``DELETE /me`` to the day on which nothing is left, in every store: PostgreSQL or Cassandra, Valkey, a folder of files."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import redis
from django.core.cache import cache
from django.core.management import call_command

from accounts import profiles, stores, tasks
from accounts.limits import DAY_MS
from accounts.models import (
    Account,
    Case,
    Contact,
    Device,
    Erasure,
    InstallationBan,
    Report,
    ReportedMessage,
    VerificationCode,
)
from accounts.services import erasure, persons, verification
from delivery.store.cassandra.session import Cassandra
from delivery.store.sync import store
from groups.models import Invite, Membership
from groups.tasks import leave_retired
from tests.accounts.conftest import _memory_layer, clock, limits, parallel  # noqa: F401
from tests.accounts.prekeys import someone
from tests.chats.conftest import log_elsewhere
from tests.chats.erased import Life, end, is_there, residue, rich_life
from tests.media.conftest import folder  # noqa: F401
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.staff import chain
from whatsapp.staff.models import Approval, AuditRecord

pytestmark = pytest.mark.django_db(transaction=True)

WAIT: Final = 32 * DAY_MS
State = Erasure.State


@pytest.fixture(autouse=True)
def _broker_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task is lost: what is to be done follows from rows."""
    monkeypatch.setattr("delivery.tasks.enqueue", lambda task, *args: None)
    monkeypatch.setattr("delivery.tasks.enqueue_soon", lambda task, *args: None)
    monkeypatch.setattr("delivery.changes._tell", lambda entry: None)
    monkeypatch.setattr(profiles, "_away_until", 0.0)


@pytest.fixture
def hot(valkey_server: Any, settings: Any) -> Iterator[str]:
    """A database of the node for this test alone."""
    url = valkey_server.url(9)
    settings.HOT_URL = settings.BROKER_URL = settings.CACHE_URL = settings.ADMIN_LAYER_URL = url
    redis.Redis.from_url(url).flushdb()
    yield url
    cache.close()


@pytest.fixture
def data(tmp_path: Any, settings: Any) -> Any:
    """A data folder for this test alone."""
    settings.WHATSAPP_DATA = tmp_path / "data"
    settings.WHATSAPP_DATA.mkdir()
    return settings.WHATSAPP_DATA


@pytest.fixture(params=["postgres", pytest.param("cassandra", marks=pytest.mark.needs_cassandra)])
def log(request: Any, settings: Any, hot: str) -> Iterator[Callable[[], None]]:
    """Where the log is. Called, it lets pass what only the servers' own clocks end."""
    if request.param == "postgres":
        yield lambda: None
        return
    node = request.getfixturevalue("cassandra_node")

    async def outlive() -> None:
        db = await Cassandra([node.host], keyspace, port=node.port).open()
        for message_id, sender in await db.rows("SELECT message_id, sender FROM $.message"):
            await db.run(
                f"DELETE FROM $.message USING TIMESTAMP {2**62} WHERE message_id = ? AND sender = ?",
                message_id,
                sender,
            )
        await db.close()

    with log_elsewhere(node, settings) as keyspace:
        yield lambda: asyncio.run(outlive())


@pytest.fixture
def life(hot: str, data: Any, folder: Any, log: Any) -> Life:
    return rich_life(hot)


def pass_a_month(clock: Any, log: Callable[[], None]) -> None:
    """And retention with it."""
    clock(WAIT)
    while store.expire(now_ms() + WAIT, LIMITS.retention_ms, 5000):
        pass
    log()


def run(key: int, most: int = 50) -> list[str]:
    """States behind each step, until it waits."""
    seen = []
    while len(seen) < most and (state := erasure.step(key)):
        seen.append(state)
        if not erasure.is_due(key):
            break
    if seen[-1:] == [State.VERIFYING]:
        seen.append(search(key))
    return seen


def search(key: int) -> str:
    """Without half a day in which others may come; the state behind it."""
    Erasure.objects.filter(pk=key).update(next_at=1)
    verification.verify()
    return str(Erasure.objects.get(pk=key).state)


def test_nothing_is_left_of_a_rich_account(life: Life, clock: Any, log: Any) -> None:
    found, said = residue(life.ann)
    assert found
    for where in ("accounts_account", "delivery", "valkey", "media", "groups_membership"):
        assert where in said or "cassandra" in said, where
    for secret in (life.ann.phone, life.ann.user_id, life.ann.device_id):
        assert secret not in said, "a finding repeats no personal data"
    key = end(life.ann)
    assert erasure.due(now_ms()) == []
    leave_retired()
    pass_a_month(clock, log)
    assert erasure.due(now_ms() + WAIT) == [key]
    assert run(key)[-1] == State.DONE, Erasure.objects.get(pk=key).error
    found, said = residue(life.ann)
    assert not found, said
    row = Erasure.objects.get(pk=key)
    assert (row.identifiers, str(row.user) != life.ann.user_id) == (None, True)
    assert bytes(row.user_hash) in persons.user_hashes(life.ann.user_id)
    assert set(row.stores) == {store.name for store in stores.all_stores()}
    # What others have stays theirs.
    clock(-WAIT)  # or their tokens are too old
    me = life.bob.api.get("/me")
    assert me.status_code == 200
    assert [item["kind"] for item in life.bob.api.get("/conversations").json()["items"]] == ["group"]
    group = life.bob.api.get(f"/groups/{life.group}").json()
    assert (group["name"], Membership.objects.filter(group=life.group).count()) == ("Sailing", 1)
    assert Invite.objects.get(group=life.group).created_by_id == uuid.UUID(life.bob.user_id)
    # Figures stay, without a name; nothing that anybody said does, but Bob's own words in Ann's report of him.
    assert Report.objects.count() == 2
    assert not Report.objects.filter(reporter=life.ann.user_id).exists()
    assert [str(each.sender) for each in ReportedMessage.objects.all()] == [life.bob.user_id]
    assert [case.state for case in Case.objects.all()] == ["closed"]
    assert not Contact.objects.filter(owner=life.bob.user_id).exists()
    # That staff did something stays, and the chain holds.
    assert [(row.object_id, row.message) for row in AuditRecord.objects.exclude(by="automatic")] == [
        ("", "")
    ] * 3
    assert chain.verify().finding == ""
    assert Approval.objects.get().asked_name.startswith("clerk-")


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_what_a_second_person_has_yet_to_decide_is_waited_for(life: Life, clock: Any, log: Any) -> None:
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    Approval.objects.update(state="waiting", expires_at=now_ms() + WAIT + DAY_MS)
    assert run(key) == [State.ERASING]
    assert set(Erasure.objects.get(pk=key).stores) & {"staff", "accounts"} == set()
    Approval.objects.update(state="rejected")
    clock(DAY_MS)
    assert run(key)[-1] == State.DONE


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_before_the_month_is_over_the_others_lose_nothing(life: Life, clock: Any, log: Any) -> None:
    key = end(life.ann)
    clock(20 * DAY_MS)
    tasks.erase_due()
    assert run(key) == []
    clock(-20 * DAY_MS)
    events = life.bob.api.get(f"/conversations/{life.direct}/events").json()["items"]
    assert [event["senderId"] for event in events].count(life.ann.user_id) == 2


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_what_retention_has_not_taken_yet_is_waited_for(life: Life, clock: Any, log: Any) -> None:
    key = end(life.ann)
    clock(WAIT)
    assert run(key) == [State.ERASING]
    row = Erasure.objects.get(pk=key)
    assert "conversations" not in row.stores
    assert "accounts" not in row.stores, "the account is the last"
    assert is_there(life.ann)


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_a_store_that_was_forgotten_is_found(
    life: Life,
    clock: Any,
    log: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody registered it; or what it erases is not all."""
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    known = dict(stores._stores)
    monkeypatch.setattr(stores, "_stores", {name: one for name, one in known.items() if name != "hot"})
    assert run(key)[-1] == State.DONE
    found, said = residue(life.ann)
    assert found
    assert "valkey" in said


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_it_is_not_done_while_a_search_finds_something(
    life: Life,
    clock: Any,
    log: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hot_store = next(one for one in stores.all_stores() if one.name == "hot")
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    with monkeypatch.context() as patched:
        patched.setattr(type(hot_store), "erase", lambda self, person, now: 0)
        patched.setattr(type(hot_store), "sweep", lambda self, people: None)
        assert run(key)[-1] == State.ERASING
    row = Erasure.objects.get(pk=key)
    assert (row.error, row.attempts, row.stores, row.identifiers is not None) == ("Left: hot", 1, {}, True)
    clock(erasure.RETRY_MS)
    assert run(key)[-1] == State.DONE


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_who_dies_at_any_step_is_followed(
    life: Life, clock: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each fault point once; nobody comes to it before its lease has ended."""

    class Died(BaseException):
        pass

    points: list[str] = []

    def point(name: str) -> None:
        if name.startswith("erasure") and name not in points:
            points.append(name)
            raise Died

    monkeypatch.setattr("whatsapp.infra.faults.point", point)
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    for _ in range(40):
        try:
            run(key)
            verification.verify()
        except Died:
            assert run(key) == [], "somebody may still be at it"
            assert verification.verify() == 0
            clock(erasure.LEASE_MS)
            if Erasure.objects.get(pk=key).state == State.VERIFYING:
                clock(erasure.GATHER_MS + verification.LEASE_MS)
            continue
        break
    assert Erasure.objects.get(pk=key).state == State.DONE
    assert {"erasure-begun", "erasure-verifying"} < set(points)
    assert len(points) == 2 + 2 * len(stores.all_stores())
    assert not residue(life.ann)[0]


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_two_at_once_do_no_harm(life: Life, clock: Any, log: Any) -> None:
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    results = parallel(3, lambda: erasure.step(key))
    assert sorted(results) == ["", "", State.VERIFYING]
    assert verification.verify() == 0, "it waits for others"
    Erasure.objects.update(next_at=1)
    assert sorted(parallel(3, verification.verify)) == [0, 0, 1]
    assert Erasure.objects.get(pk=key).state == State.DONE
    assert not residue(life.ann)[0]


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_a_legal_hold_keeps_the_data(
    life: Life, clock: Any, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {uuid.UUID(life.ann.user_id)}
    monkeypatch.setattr(erasure, "_held", held.__contains__)
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    assert run(key) == [State.HELD]
    assert is_there(life.ann)
    clock(100 * DAY_MS)
    assert erasure.tell_overdue(erasure.now_ms()) == 0, "a hold is no delay of ours"
    held.clear()
    assert run(key)[-1] == State.DONE


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_the_number_of_today_is_somebody_elses(life: Life, clock: Any, log: Any) -> None:
    """The number was free; who has it now is not taken for what is left."""
    key = end(life.ann)
    leave_retired()
    newcomer = someone(life.ann.phone)
    assert newcomer.user_id != life.ann.user_id
    pass_a_month(clock, log)
    assert run(key)[-1] == State.DONE
    clock(-WAIT)
    assert newcomer.api.get("/me").json()["phoneNumber"] == life.ann.phone


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_who_registers_the_number_at_this_moment_keeps_the_code(life: Life, clock: Any, log: Any) -> None:
    """It was sent and has not come back yet when the erasure of whose number it was is at its end."""
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    made = VerificationCode.objects.create(
        phone=life.ann.phone, code_hash=b"c" * 32, created_at=erasure.now_ms(), expires_at=erasure.now_ms() + 600_000
    )  # fmt: skip
    assert run(key)[-1] == State.DONE
    assert VerificationCode.objects.filter(pk=made.pk).exists()


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_a_ban_of_an_installation_outlives_who_had_it(life: Life, clock: Any, log: Any) -> None:
    """Its hash is kept for the ban, and is no longer the person's."""
    device = Device.objects.get(pk=life.ann.device_id)
    installation = b"i" * 32
    Device.objects.filter(pk=device.pk).update(installation=installation)
    InstallationBan.objects.create(installation=installation, until=2**52, created_at=1)
    key = end(life.ann)
    leave_retired()
    pass_a_month(clock, log)
    assert run(key)[-1] == State.DONE


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_what_is_late_is_counted(life: Life, clock: Any, log: Any) -> None:
    end(life.ann)
    assert erasure.tell_overdue(erasure.now_ms()) == 0
    clock(91 * DAY_MS)
    assert erasure.tell_overdue(erasure.now_ms()) == 1


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_who_ended_before_there_were_erasures_has_one(life: Life, clock: Any, log: Any) -> None:
    end(life.ann)
    Erasure.objects.all().delete()
    tasks.erase_due()
    (row,) = Erasure.objects.all()
    assert str(row.user) == life.ann.user_id
    tasks.erase_due()
    assert Erasure.objects.count() == 1


@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_a_restored_backup_gives_nobody_back(life: Life, log: Any, tmp_path: Any) -> None:
    key = end(life.ann)
    ledger = tmp_path / "erased"
    call_command("erase_again", ledger, write=True)
    assert life.ann.user_id not in ledger.read_text()
    # The backup is of the day before.
    Erasure.objects.filter(pk=key).delete()
    Account.objects.filter(pk=life.ann.user_id).update(retired_at=None, phone=life.ann.phone)
    call_command("erase_again", ledger)
    assert Account.objects.get(pk=life.ann.user_id).retired_at is not None
    assert Account.objects.get(pk=life.bob.user_id).retired_at is None
    assert [str(row.user) for row in Erasure.objects.all()] == [life.ann.user_id]
