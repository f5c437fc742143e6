"""All sections of fsck together: what the command and the schedule run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings

from accounts import fsck as accounts_fsck
from delivery import tasks
from delivery.fsck import elsewhere as on_cassandra
from delivery.fsck.engine import CassandraEngine, Engine, PostgresEngine
from delivery.fsck.hot import Lanes, Leftovers, Users, connect
from delivery.fsck.runner import Cursor, Report, run
from delivery.fsck.section import Finding, Section
from delivery.fsck.tables import Recent, Tables
from delivery.store.chosen import elsewhere
from delivery.store.fsck import ALL
from delivery.store.sync import store
from groups import fsck as groups_fsck
from whatsapp.infra.clock import now_ms

#: Where the schedule goes on. On the hot node: should it be lost, it begins anew.
CURSOR_KEY = "{fsck}:cursor"
LEASE_KEY = "{fsck}:lease"
#: The schedule looks at what was appended since its last run, and a little more.
RECENT_MS = 10 * 60_000


def sections(hot: Any, tail: int = ALL) -> list[Section]:
    """In an order in which each may rely on what those before have mended."""
    own: list[Section]
    rest: list[Section]
    engine: Engine
    if elsewhere():
        engine = CassandraEngine()
        own = [on_cassandra.Changes(store), *on_cassandra.before(), on_cassandra.Conversations(tail)]
        rest = [*on_cassandra.after()]
    else:
        engine = PostgresEngine(store)
        own = [Tables(store, "conversations", tail), Tables(store, "directs", tail)]
        rest = [Tables(store, "devices", tail), Tables(store, "progress", tail)]
    return [
        *own,
        *groups_fsck.against_engine(store, engine),
        *accounts_fsck.against_engine(store, engine),
        *groups_fsck.sections(),
        *accounts_fsck.sections(),
        *rest,
        Users(store, engine, hot),
        Leftovers(store, hot),
        Lanes(hot, tasks.submit_lane_soon),
    ]


def recent(since: int, tail: int) -> Section:
    """What was appended since then (ms)."""
    return on_cassandra.Recent(since, tail) if elsewhere() else Recent(store, since, tail)


def scheduled(tell: Callable[[str, Finding], None]) -> Report | None:
    """What changed lately, then a part of everything else, where the last run stopped. None: another run is under way."""
    hot = connect(settings.HOT_URL)
    if not hot.set(LEASE_KEY, "1", nx=True, ex=60 + 3 * settings.FSCK_SECONDS):
        return None
    try:
        return _scheduled(hot, tell)
    finally:
        hot.delete(LEASE_KEY)


def _scheduled(hot: Any, tell: Callable[[str, Finding], None]) -> Report:
    repair, half = settings.FSCK_REPAIR, settings.FSCK_SECONDS / 2
    lately = recent(now_ms() - RECENT_MS, settings.FSCK_TAIL)
    first = run([lately], repair=repair, tell=tell, seconds=half)
    raw = hot.get(CURSOR_KEY)
    start = Cursor(*json.loads(raw)) if raw else None
    rest = run(sections(hot, settings.FSCK_TAIL), repair=repair, tell=tell, start=start, seconds=half)
    hot.set(CURSOR_KEY, json.dumps(rest.cursor or Cursor()), ex=86_400)
    return Report(
        {**first.checked, **rest.checked},
        first.found + rest.found,
        first.mended + rest.mended,
        first.busy + rest.busy,
        rest.cursor,
    )
