"""How fsck runs: within a budget, from where it stopped, beside others, by the command and by the schedule."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from chats import fsck as all_sections
from chats.tasks import fsck as scheduled
from delivery.fsck.runner import Cursor
from delivery.fsck.section import BUSY
from delivery.store.fsck import ALL
from tests.fsck.conftest import World, fsck, say, sql
from tests.support.waiting import until_it_waits
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms


def _command(capsys: Any, *arguments: str) -> tuple[int, list[Any]]:
    capsys.readouterr()
    code = 0
    try:
        call_command("fsck", "--json", *arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.django_db
def test_the_command_tells_ids_and_numbers_and_mends_when_asked(world: World, capsys: Any) -> None:
    assert _command(capsys)[0] == 0
    sql("UPDATE delivery_head SET ordinal = 99 WHERE conversation = %s", world.direct)
    code, lines = _command(capsys)
    assert code == 1
    assert lines[0] == {
        "section": "conversations", "kind": "head.ordinal", "key": world.direct, "is": 99, "should": 6, "mended": False,
    }  # fmt: skip
    assert lines[-1]["found"] == 1
    assert lines[-1]["after"] is None
    code, lines = _command(capsys, "--repair", "--only", "conversations")
    assert (code, lines[0]["mended"]) == (0, True)
    assert list(lines[-1]["checked"]) == ["conversations"]
    assert _command(capsys) == (
        0,
        [{**lines[-1], "checked": _command(capsys)[1][-1]["checked"], "found": 0, "mended": 0}],
    )
    call_command("fsck")
    text = capsys.readouterr().out
    assert "found 0, mended 0, busy 0" in text
    assert world.ann.phone not in text


@pytest.mark.django_db
def test_it_goes_on_where_it_stopped(world: World, capsys: Any) -> None:
    sql("UPDATE delivery_head SET ordinal = 99")
    seen: list[str] = []
    cursor = ["--seconds", "0"]
    code, lines = _command(capsys, *cursor)
    assert (code, lines[-1]["after"]) == (0, "conversations/")
    start: Cursor | None = Cursor()
    while start is not None:
        found, report = fsck(batch=1, start=start, seconds=0.02)
        seen += [finding.key for finding in found if finding.kind == "head.ordinal"]
        start = report.cursor
    assert sorted(seen) == sorted({*seen})
    assert {world.direct, world.group, world.blocked} == {*seen}


@pytest.mark.django_db
def test_only_the_end_of_a_log_if_told_so(world: World) -> None:
    sql("UPDATE delivery_event SET ordinal = 99 WHERE conversation = %s AND seq = 2", world.direct)
    assert fsck(tail=3)[0] == []
    assert [finding.kind for finding in fsck(tail=ALL)[0]] == ["log.ordinal"]


@pytest.mark.django_db(transaction=True)
def test_what_another_transaction_is_about_to_put_right_is_not_said(world: World) -> None:
    """A look sees what the lock then disproves; who cannot have the lock says so and touches nothing."""
    sql("UPDATE delivery_head SET ordinal = 99 WHERE conversation = %s", world.direct)
    held, let_go, done = threading.Event(), threading.Event(), []

    def other() -> None:
        with transaction.atomic():
            sql("UPDATE delivery_head SET ordinal = ordinal WHERE conversation = %s", world.direct)
            held.set()
            let_go.wait(20)
            sql("UPDATE delivery_head SET ordinal = 6 WHERE conversation = %s", world.direct)
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(20)
    found, report = fsck(only=["conversations"], repair=True)
    assert [(finding.kind, finding.key) for finding in found] == [(BUSY, world.direct)]
    assert (report.found, report.busy) == (0, 1)
    waits = threading.Thread(
        target=lambda: (done.append(fsck(only=["conversations"], repair=True)[0]), connection.close())
    )
    waits.start()
    until_it_waits(waits)
    let_go.set()
    thread.join()
    waits.join()
    assert done == [[]]


@pytest.mark.django_db
def test_the_schedule_mends_what_changed_lately_first_and_walks_on(
    world: World, settings: Any, caplog: Any
) -> None:
    say(world.ann, world.direct, "now", at=now_ms())
    sql("UPDATE delivery_head SET ordinal = 99 WHERE conversation = %s", world.direct)
    before = metrics.FSCK_FINDINGS.values.get(("head.ordinal", "yes"), 0)
    settings.FSCK_SECONDS = 10
    assert scheduled() == 1
    assert metrics.FSCK_FINDINGS.values["head.ordinal", "yes"] == before + 1
    assert "fsck found 1, mended 1: head.ordinal 1" in caplog.text
    assert world.direct not in caplog.text
    assert json.loads(world.hot.get(all_sections.CURSOR_KEY)) == ["", ""]  # it came to the end
    assert not world.hot.exists(all_sections.LEASE_KEY)
    assert scheduled() == 0
    world.hot.set(all_sections.LEASE_KEY, "1")
    assert scheduled() == 0  # another run is under way
    assert world.hot.get(all_sections.LEASE_KEY) == b"1"


@pytest.mark.django_db
def test_the_schedule_goes_on_where_it_stopped(world: World, settings: Any) -> None:
    world.hot.set(all_sections.CURSOR_KEY, json.dumps(["devices", ""]))
    sql("UPDATE delivery_position SET acked = 99 WHERE device = %s", world.bob.device_id)
    sql("UPDATE delivery_outbox SET at = 1")  # nothing changed lately
    sql("UPDATE delivery_head SET members = 9 WHERE conversation = %s", world.group)
    assert scheduled() == 1  # the position: what comes before it has its turn with the next run
    assert scheduled() == 1


@pytest.mark.django_db
def test_the_schedule_only_tells_if_told_so(world: World, settings: Any) -> None:
    settings.FSCK_REPAIR = False
    sql("UPDATE delivery_head SET ordinal = 99 WHERE conversation = %s", world.direct)
    assert scheduled() == 2  # among what changed lately, and among all
    assert world.head(world.direct, "ordinal")[0] == 99
