"""fsck finds each kind of disagreement, and mends it; of what is right it says nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from accounts.models import Block, Device, Photo
from delivery.inbox import dirty_key, marker_key
from delivery.store.sync import store
from delivery.store.values import PageRequest
from groups.models import Icon, Membership
from tests.fsck.conftest import World, fsck, say, sql
from tests.groups.conftest import a_member_of_the_engine
from whatsapp.infra.clock import now_ms
from whatsapp.infra.directory import sessions_key

pytestmark = pytest.mark.django_db


def test_of_what_is_right_nothing_is_said(world: World) -> None:
    found, report = fsck()
    assert found == []
    assert report.cursor is None
    assert report.checked["conversations"] >= 3
    assert report.checked["inboxes"] >= 4


def _set_head(values: str) -> Callable[[World], None]:
    return lambda w: _run(f"UPDATE delivery_head SET {values} WHERE conversation = %s", w.direct)


def _run(statement: str, *params: Any) -> None:
    sql(statement, *params)


def _delete(where: str) -> Callable[[World], None]:
    return lambda w: _run(f"DELETE FROM delivery_event WHERE conversation = %s AND {where}", w.direct)


def _event(values: str, where: str) -> Callable[[World], None]:
    return lambda w: _run(f"UPDATE delivery_event SET {values} WHERE conversation = %s AND {where}", w.direct)


def _no_icon_file(w: World) -> None:
    icon = Icon.objects.get(group_id=w.group)
    default_storage.delete(icon.names["thumb"])


def _orphan_file(w: World) -> None:
    folder = Path(default_storage.location) / "photos" / w.ann.user_id  # type: ignore[attr-defined]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{'0' * 32}-{'1' * 32}.jpg"
    file.write_bytes(b"x")
    os.utime(file, (1, 1))


#: kind → what makes it so. Where one thing going wrong shows in several kinds, the first cause is named.
CORRUPTIONS: dict[str, Callable[[World], Any]] = {
    "head.missing": lambda w: _run("DELETE FROM delivery_head WHERE conversation = %s", w.direct),
    "head.behind": _set_head("head = 6"),
    "head.below_floor": lambda w: (
        _run("DELETE FROM delivery_event WHERE conversation = %s", w.direct),
        _run("UPDATE delivery_head SET floor = 9 WHERE conversation = %s", w.direct),
    ),
    "log.start": _delete("seq < 3"),
    "log.hole": _delete("seq IN (3, 4)"),
    "floor.ordinal": _set_head("floor_ordinal = 7"),
    "log.ordinal": _event("ordinal = 99", "seq = 4"),
    "head.ordinal": _set_head("ordinal = 3"),
    "head.oldest_at": _set_head("oldest_at = NULL"),
    "event.edited": _event("edited = 7", "seq = 1"),
    "event.superseded": _event("superseded = true", "seq = 6"),
    "event.about_gone": _event("content = NULL", "seq = 1"),
    "vanishing.missing": _event("until = 9999999999999", "seq = 7"),
    "seqnum.behind": lambda w: _run("UPDATE delivery_seqnum SET last = 1 WHERE device = %s", w.ann.device_id),
    "roster.interval": lambda w: _run(
        "INSERT INTO delivery_member (conversation, member, joined_seq) VALUES (%s, %s, 2)", w.group, w.bob.user_id
    ),
    "head.roster_seq": lambda w: _run("UPDATE delivery_head SET roster_seq = 0 WHERE conversation = %s", w.group),
    "head.members": lambda w: _run("UPDATE delivery_head SET members = 9 WHERE conversation = %s", w.group),
    "direct.unlisted": lambda w: _run("DELETE FROM delivery_direct WHERE conversation = %s", w.direct),
    "receipt.stranger": lambda w: _run(
        "INSERT INTO delivery_receipt (conversation, member, read) VALUES (%s, %s, 1)", w.direct, w.cat.user_id
    ),
    "receipt.beyond": lambda w: _run("UPDATE delivery_receipt SET read = 99 WHERE conversation = %s", w.direct),
    "receipt.shown": lambda w: _run(
        "UPDATE delivery_receipt SET shown_at = NULL WHERE conversation = %s", w.blocked
    ),
    "head.withholds": lambda w: _run(
        "UPDATE delivery_head SET withholds = false WHERE conversation = %s", w.blocked
    ),
    "withheld.run": lambda w: _run("UPDATE delivery_withheld SET owed = 2 WHERE conversation = %s", w.blocked),
    "mention.beyond": lambda w: _run(
        "INSERT INTO delivery_mention (conversation, member, seq, at) VALUES (%s, %s, 99, 1)",
        w.direct, w.bob.user_id,
    ),
    "direct.head": lambda w: _run("UPDATE delivery_head SET kind = 'group' WHERE conversation = %s", w.direct),
    "direct.member": lambda w: _run(
        "DELETE FROM delivery_member WHERE conversation = %s AND member = %s", w.direct, w.bob.user_id
    ),
    "direct.stranger": lambda w: _run(
        "INSERT INTO delivery_member (conversation, member, joined_seq) VALUES (%s, %s, 1)", w.direct, w.cat.user_id
    ),
    "position.unlinked": lambda w: _run(
        "INSERT INTO delivery_position (device, conversation, acked) VALUES (%s, %s, 1)", w.group, w.direct
    ),
    "seqnum.unlinked": lambda w: _run(
        "INSERT INTO delivery_seqnum (device, conversation, last) VALUES (%s, %s, 1)", w.group, w.direct
    ),
    "position.stranger": lambda w: _run(
        "INSERT INTO delivery_position (device, conversation, acked) VALUES (%s, %s, 1)", w.cat.device_id, w.direct
    ),
    "position.beyond": lambda w: _run("UPDATE delivery_position SET acked = 99 WHERE device = %s", w.bob.device_id),
    "position.expired": lambda w: _run("UPDATE delivery_position SET expired = 99 WHERE device = %s", w.bob.device_id),
    "progress.ahead": lambda w: _run(
        "INSERT INTO delivery_progress (writer, epoch, row, at) VALUES (%s, 'e', 99999999, 1)", w.ann.user_id
    ),
    # groups
    "group.count": lambda w: _run("UPDATE groups_group SET member_count = 7 WHERE id = %s", w.group),
    "group.creator": lambda w: Membership.objects.filter(role="creator").update(role="member"),
    "group.head": lambda w: (
        _run("DELETE FROM delivery_head WHERE conversation = %s", w.group),
        _run("DELETE FROM delivery_event WHERE conversation = %s", w.group),
        _run("DELETE FROM delivery_member WHERE conversation = %s", w.group),
    ),
    "group.unknown": lambda w: _run(
        "DELETE FROM delivery_member WHERE conversation = %s AND member = %s", w.group, w.bob.user_id
    ),
    "group.stranger": lambda w: _run(
        "INSERT INTO delivery_member (conversation, member, joined_seq) VALUES (%s, %s, 1)", w.group, w.dan.user_id
    ),
    "group.speaker": lambda w: _run(
        "UPDATE delivery_member SET speaker = true WHERE conversation = %s AND member = %s", w.group, w.bob.user_id
    ),
    "group.restricted": lambda w: _run("UPDATE delivery_head SET restricted = true WHERE conversation = %s", w.group),
    # accounts
    "device.missing": lambda w: store.unlink_device(w.bob.user_id, w.bob.device_id, 1),
    "device.ended": lambda w: Device.objects.filter(pk=w.cat.device_id).update(unlinked_at=5, primary=False),
    "device.unknown": lambda w: store.link_device(w.cat.user_id, w.group, 1),
    "device.misplaced": lambda w: _run(
        "UPDATE delivery_device SET member = %s WHERE device = %s", w.ann.user_id, w.cat.device_id
    ),
    "device.of_ended": lambda w: _run("UPDATE accounts_account SET retired_at = 5 WHERE id = %s", w.dan.user_id),
    "block.missing": lambda w: _run("UPDATE delivery_withheld SET active = false"),
    "block.lifted": lambda w: Block.objects.all().delete(),
    "picture.files_missing": _no_icon_file,
    "file.orphan": _orphan_file,
    # the hot node
    "mark.missing": lambda w: w.hot.zrem(dirty_key(w.bob.user_id, w.bob.device_id), w.direct),
    "mark.beyond": lambda w: w.hot.zadd(dirty_key(w.bob.user_id, w.bob.device_id), {w.direct: 99}),
    "mark.stranger": lambda w: w.hot.zadd(dirty_key(w.bob.user_id, w.bob.device_id), {w.blocked: 1}),
    "dirty.endless": lambda w: w.hot.persist(dirty_key(w.bob.user_id, w.bob.device_id)),
    "marker.endless": lambda w: w.hot.persist(marker_key(w.bob.user_id, w.bob.device_id)),
    "session.dead": lambda w: w.hot.delete("gw:{alive}:alive"),
    "session.unlinked": lambda w: w.hot.set(
        sessions_key(w.bob.user_id), f'{{"{w.cat.device_id}": ["alive", 5, "online"]}}'
    ),
    "session.unreadable": lambda w: w.hot.set(sessions_key(w.bob.user_id), "nonsense"),
    "dirty.unlinked": lambda w: w.hot.zadd(dirty_key(w.bob.user_id, w.cat.device_id), {w.direct: 1}),
    "marker.unlinked": lambda w: w.hot.set(marker_key(w.bob.user_id, w.cat.device_id), "x", ex=10),
    "sessions.deviceless": lambda w: w.hot.set(sessions_key(w.direct), "{}"),
    "lane.bytes": lambda w: (
        w.hot.xadd("{lane:3}:queue", {"b": "abc"}), w.hot.set("{lane:3}:bytes", 99), w.hot.set("{lane:3}:lease", "x", ex=99)
    ),
    "lane.endless_lease": lambda w: w.hot.set("{lane:4}:lease", "x"),
}  # fmt: skip


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_kind_is_found_and_mended(world: World, kind: str) -> None:
    CORRUPTIONS[kind](world)
    told, report = fsck()
    assert kind in {finding.kind for finding in told}
    assert not any(finding.mended for finding in told)
    assert (report.found, report.mended, report.busy) == (len(told), 0, 0)
    found, _ = fsck(repair=True)
    assert {finding.mended for finding in found if finding.kind == kind} == {True}
    assert [finding for finding in found if not finding.mended] == []
    # What was mended may only now be seen from elsewhere: a second run comes to an end of it.
    if fsck(repair=True)[0]:
        assert fsck()[0] == []


def test_a_log_that_was_mended_reads_as_before(world: World) -> None:
    before = store.listed(world.bob.user_id, 10)
    CORRUPTIONS["log.hole"](world)
    CORRUPTIONS["head.ordinal"](world)
    fsck(repair=True)
    (page,) = store.pages([PageRequest(world.direct, world.bob.user_id, 0)])
    assert [event.seq for event in page.events] == [1, 2, 5, 6, 7, 8]
    assert (page.through, page.head) == (8, 8)
    # What is lost stays counted: what was unread is as unread as before.
    assert [(item.conversation, item.unread) for item in store.listed(world.bob.user_id, 10)] == [
        (item.conversation, item.unread) for item in before
    ]
    assert say(world.ann, world.direct, "nine", at=now_ms())  # young: its mark may be on its way
    assert world.head(world.direct, "head")[0] == 9
    assert fsck()[0] == []


def test_a_stranger_in_a_group_is_removed_by_an_event(world: World) -> None:
    CORRUPTIONS["group.stranger"](world)
    CORRUPTIONS["group.unknown"](world)
    fsck(repair=True)
    assert a_member_of_the_engine(world.group) == {world.ann.user_id, world.bob.user_id, world.cat.user_id}
    (page,) = store.pages([PageRequest(world.group, world.ann.user_id, 0)])
    assert [event.kind for event in page.events][-2:] == ["member_added", "member_removed"]


def test_a_device_that_the_engine_lost_is_owed_everything_since_it_was_linked(world: World) -> None:
    Device.objects.filter(pk=world.bob.device_id).update(linked_at=1)
    store.unlink_device(world.bob.user_id, world.bob.device_id, 1)
    fsck(repair=True)
    behind = {one.conversation: one.acked for one in store.behind(world.bob.user_id, world.bob.device_id)}
    assert behind[world.direct] == 0


def test_what_is_not_shown_is_no_picture_without_files(world: World) -> None:
    Photo.objects.create(account_id=world.ann.user_id, digest="d" * 32, created_at=1)
    assert fsck()[0] == []
