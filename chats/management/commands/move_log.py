"""``manage.py move_log --to cassandra``: the engine's log moves from PostgreSQL to Cassandra. ``docs/move.md``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from delivery.fsck.hot import connect
from delivery.store import move
from delivery.store.cassandra.configured import session
from delivery.store.cassandra.moved import Differs, Target
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Unavailable
from delivery.store.move import Source
from whatsapp.infra.clock import now_ms


class Command(BaseCommand):
    help = """Copy the engine's log from PostgreSQL to Cassandra while the system runs; then, with gateways and workers stopped,
    --cut-over copies what has changed since and compares all of it. Needs CASSANDRA_CONTACT_POINTS and the tables
    (manage.py sync_cassandra). May be repeated."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", choices=["cassandra"], required=True)
        parser.add_argument(
            "--cut-over",
            action="store_true",
            help="nothing runs: copy the rest, compare everything, empty the hot node",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.LOG_STORE != "postgres":
            raise CommandError("The log is not on PostgreSQL any more (LOG_STORE).")
        if not settings.CASSANDRA_CONTACT_POINTS:
            raise CommandError("CASSANDRA_CONTACT_POINTS names no node.")
        hot = connect(settings.HOT_URL)
        try:
            if options["cut_over"] and (alive := list(hot.scan_iter("gw:{*}:alive", count=1_000))):
                raise CommandError(
                    f"{len(alive)} processes use the log: stop all gateways and workers first, or what they write is lost."
                )
            copied, total, devices = asyncio.run(_move(options["cut_over"]))
            if options["cut_over"]:
                hot.flushdb()  # a new epoch: each device compares its positions with the heads at its next connect
        except Differs as error:
            raise CommandError(f"Not moved: {error}. Nothing was switched; run it again.") from None
        except (Unavailable, psycopg.OperationalError) as error:
            raise CommandError(f"A server does not answer: {type(error).__name__}. Run it again.") from None
        except redis.RedisError as error:
            raise CommandError(f"The hot node cannot be reached: {type(error).__name__}.") from None
        self.stdout.write(f"{total} conversations, of {copied} the events; {devices} devices")
        self.stdout.write(
            "Compared, and the same. Start everything with LOG_STORE=cassandra."
            if options["cut_over"]
            else "Run it again until little is copied; then stop gateways and workers, and run it with --cut-over."
        )


async def _move(cut_over: bool) -> tuple[int, int, int]:
    """Conversations whose events were copied, conversations, devices."""
    copied = total = 0
    db = await session().open()
    store = CassandraStore(db)
    try:
        async with Source.open(settings.DATABASE_URL) as source:
            target = Target(db, now_ms())
            async for conversation in _keys(source, move.CONVERSATIONS):
                copied += await target.conversation(source, conversation)
                total += 1
            devices = []
            async for device in _keys(source, move.DEVICES):
                await target.device(source, device)
                devices.append(device)
            async for member in _keys(source, move.FLAGGED):
                await target.flags(source, member)
            if cut_over:
                for member, device in await target.strangers(devices):
                    await store.unlink_device(member, device, now_ms())
                async for conversation in _keys(source, move.CONVERSATIONS):
                    await target.verify(source, conversation)
            return copied, total, len(devices)
    finally:
        await store.close()


async def _keys(source: Source, sql: str) -> AsyncIterator[str]:
    after = move.NIL
    while found := await source.keys(sql, after):
        for key in found:
            yield key
        after = found[-1]
