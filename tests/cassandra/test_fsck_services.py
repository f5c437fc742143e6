"""fsck of a log on Cassandra against accounts, groups and the hot node; the schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction

from accounts.models import Block, Device
from chats.fsck import sections
from chats.tasks import fsck as scheduled
from delivery.fsck.elsewhere import WAITS_MS
from delivery.fsck.hot import connect
from delivery.fsck.runner import run
from delivery.fsck.section import Finding, Twice
from delivery.inbox import dirty_key, marker_key
from delivery.store import chosen, pending
from delivery.store.cassandra.store import _INSPECTIONS
from delivery.store.sync import store
from delivery.store.values import Flags
from tests.accounts.conftest import Person, _memory_layer, clock, limits, told  # noqa: F401 - fixtures
from tests.cassandra.test_fsck import ask, cql, emptied, on_cassandra  # noqa: F401 - a fixture
from tests.chats.conftest import open_direct
from tests.contract.people import new_id, send
from tests.fsck.conftest import hot, room  # noqa: F401 - fixtures
from tests.groups.conftest import make, sign_in
from tests.support.patience import until
from whatsapp.infra.clock import now_ms
from whatsapp.infra.hot import parse_epoch

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


def fsck(*, repair: bool = False) -> list[Finding]:
    found: list[Finding] = []
    chosen = sections(connect(settings.HOT_URL))
    run(chosen, repair=repair, tell=lambda _, finding: found.append(finding))
    return found


def epoch_of(hot: Any) -> str:  # noqa: F811
    return parse_epoch(hot.execute_command("INFO server replication commandstats"))


def knows(hot: Any) -> None:  # noqa: F811
    """Wait until the store knows the node as it is since it was emptied. A copy of a document that it made before counts as lost,
    and the document that is made of what is stored explains what a test is about to spoil: there is no fault to find."""
    epoch = epoch_of(hot)

    async def known(store: Any) -> None:
        await until(lambda: store._hot.under("")[1] == epoch, "the store knows the node's epoch")

    ask(known)


class World:
    def __init__(self, hot: Any) -> None:  # noqa: F811
        emptied()
        knows(hot)
        self.hot = hot
        self.ann, self.bob, self.cat, self.dan = (sign_in() for _ in range(4))
        self.direct, self.blocked = open_direct(self.ann, self.bob), open_direct(self.ann, self.dan)
        self.group = make(self.ann, self.bob, self.cat)
        assert self.ann.api.put(f"/blocks/{self.dan.user_id}").status_code in (200, 204)
        for _ in range(3):
            one = send(self.direct, self.ann.user_id, self.ann.device_id)
            store.append(new_id(), [one], now_ms() - 120_000)
        self.marked()

    def marked(self, **extra: int) -> None:
        """Bob's dirty set is complete."""
        dirty = dirty_key(self.bob.user_id, self.bob.device_id)
        heads = store.roster_heads([self.group])
        self.hot.delete(dirty)
        self.hot.zadd(dirty, {self.direct: 3, self.group: heads[self.group].head})
        self.hot.expire(dirty, 1000)
        self.hot.set(marker_key(self.bob.user_id, self.bob.device_id), epoch_of(self.hot), ex=1000)

    def forget_member(self, person: Person) -> None:
        for table in ("member", "roster"):
            cql(f"DELETE FROM $.{table} WHERE conversation = ? AND member = ?", self.group, person.user_id)


def _unlink(world: World) -> None:
    with transaction.atomic():
        store.unlink_device(world.cat.user_id, world.cat.device_id, now_ms())


WRONG: dict[str, Callable[[World], Any]] = {
    "group.unknown": lambda w: w.forget_member(w.cat),
    "group.restricted": lambda w: ask(
        lambda s: s._documents.change(w.group, lambda d: setattr(d, "restricted", True), now_ms())
    ),
    "group.head": lambda w: (
        cql("DELETE FROM $.conversation WHERE conversation = ?", w.group),
        cql("DELETE FROM $.event WHERE conversation = ? AND bucket = 0", w.group),
        [w.forget_member(one) for one in (w.ann, w.bob, w.cat)],
    ),
    "device.missing": _unlink,
    "device.unknown": lambda w: ask(lambda s: s.link_device(w.dan.user_id, new_id(), now_ms())),
    "device.ended": lambda w: Device.objects.filter(pk=w.cat.device_id).update(unlinked_at=1),
    "block.missing": lambda w: Block.objects.create(owner_id=w.bob.user_id, user_id=w.ann.user_id, at=1),
    "block.lifted": lambda w: Block.objects.filter(owner=w.ann.user_id).delete(),
    "mark.missing": lambda w: w.hot.zrem(dirty_key(w.bob.user_id, w.bob.device_id), w.direct),
    "mark.beyond": lambda w: w.hot.zadd(dirty_key(w.bob.user_id, w.bob.device_id), {w.direct: 99}),
    "mark.stranger": lambda w: w.hot.zadd(dirty_key(w.bob.user_id, w.bob.device_id), {w.blocked: 1}),
}


@pytest.mark.usefixtures("on_cassandra")
def test_each_is_found_and_mended(hot: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(Twice, "apart_s", 0.05)
    world = World(hot)
    assert fsck() == []
    for kind, corrupt in WRONG.items():
        corrupt(world)
        assert kind in {finding.kind for finding in fsck()}, kind
        mended = fsck(repair=True)
        assert kind in {finding.kind for finding in mended}
        assert [finding for finding in mended if not finding.mended] == []
        world.marked()
        assert fsck(repair=True) == [], kind


@pytest.mark.usefixtures("on_cassandra")
def test_the_schedule_mends_what_changed_lately(
    hot: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    monkeypatch.setattr(Twice, "apart_s", 0.05)
    monkeypatch.setattr(settings, "FSCK_SECONDS", 60)
    world = World(hot)
    assert fsck() == []
    cql("DELETE FROM $.message WHERE message_id = ?", _message(world, 2))
    assert scheduled() == 1
    assert "fsck found 1, mended 1: message.missing 1" in caplog.text
    assert scheduled() == 0


def _message(world: World, seq: int) -> str:
    rows = cql(
        "SELECT message_id FROM $.event WHERE conversation = ? AND bucket = 0 AND seq = ?", world.direct, seq
    )
    return str(rows[0][0])


@pytest.mark.usefixtures("on_cassandra")
def test_changes_that_the_log_was_not_told_of(
    hot: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is parked is told and left to staff; what nobody has carried out is carried out."""
    monkeypatch.setattr(Twice, "apart_s", 0.05)
    world = World(hot)
    long_ago = now_ms() - 2 * WAITS_MS

    def write(operation: pending.Operation, *, at: int) -> int:
        rows = store._sql(pending.INSERT, world.ann.user_id, None, 2**50, at, pending.encode(operation))
        return int(rows[0][0])

    phone = new_id()
    flags = pending.SetFlags(world.ann.user_id, world.direct, Flags(draft=b"a secret"), long_ago)
    parked = write(flags, at=long_ago)
    store._sql("UPDATE delivery_pending SET parked = true, error = 'Unavailable' WHERE id = %s", parked)
    fresh = write(flags, at=now_ms())
    assert [(one.kind, one.key) for one in fsck()] == [("change.parked", str(parked))]
    store._sql("DELETE FROM delivery_pending WHERE id = %s", fresh)
    late = write(pending.LinkDevice(world.ann.user_id, phone, long_ago, 0), at=long_ago)
    found = {one.key: one for one in fsck()}
    assert {one.kind for one in found.values()} == {"change.parked", "change.waits"}
    assert dict(found[str(late)].facts)["what"] == "LinkDevice"
    assert dict(found[str(parked)].facts)["error"] == "Unavailable"
    assert "secret" not in str(found)
    mended = {one.key: one.mended for one in fsck(repair=True) if one.kind.startswith("change.")}
    assert mended == {str(parked): False, str(late): True}
    assert store._sql("SELECT id FROM delivery_pending") == [(parked,)]
    store._sql("DELETE FROM delivery_pending")


@pytest.mark.usefixtures("on_cassandra")
@pytest.mark.parametrize("twin", [False, True], ids=["once", "twin"])
def test_a_store_that_does_not_answer_does_not_keep_an_account_locked(
    hot: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    twin: bool,
) -> None:
    """What is looked at under a lock is asked once, for a moment; what holds none is asked again and again."""
    world = World(hot)
    (devices,) = (section for section in sections(connect(settings.HOT_URL)) if section.name == "linked")
    if twin:
        monkeypatch.setattr(chosen, "inspect_once", chosen.inspect)
    monkeypatch.setattr(chosen, "_LOCKED_S", 0.2)
    monkeypatch.setattr(chosen, "_INSPECTION_S", 0.2)
    monkeypatch.setattr(chosen, "_PAUSES_S", (0.0, 0.0))
    asked: list[str] = []

    async def hangs(*args: Any) -> None:
        asked.append("linked")
        await asyncio.sleep(3600)

    monkeypatch.setitem(_INSPECTIONS, "linked", hangs)
    assert list(devices.settle([world.cat.device_id], True)) == [Finding("busy", world.cat.device_id)]
    assert asked == ["linked"] * (3 if twin else 1)
