"""``manage.py move_log``: the engine's log moves from PostgreSQL to Cassandra. ``docs/move.md``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from delivery.fsck.hot import connect
from delivery.store import moving
from delivery.store.cassandra.compared import Differs
from delivery.store.cassandra.configured import session
from delivery.store.cassandra.mover import Mover, Passed
from delivery.store.cassandra.returned import WayBack
from delivery.store.interface import Unavailable
from delivery.store.move import Source
from delivery.store.moving import Ledger, NotFenced, Running
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms

_SAID = {
    "": "The log is on PostgreSQL, and was never on its way.",
    moving.COPYING: "The log is on PostgreSQL; passes have copied it.",
    moving.FENCED: "A cut-over is under way, or was interrupted: nobody writes. Run --cut-over again, or --back.",
    moving.COMPARED: "A cut-over is under way, or was interrupted: nobody writes. Run --cut-over again, or --back.",
    moving.MOVED: "The log is on Cassandra. --back is possible while nothing was written there; --finish ends that.",
    moving.RETURNING: "The log is on Cassandra, and the way back is under way or was interrupted: run --back again.",
    moving.FINAL: "The log is on Cassandra, for good.",
}


class Command(BaseCommand):
    help = """Copy the engine's log from PostgreSQL to Cassandra while the system runs; --cut-over then holds off whoever writes,
    copies the rest, compares all of it, and waits until all processes are stopped. Needs CASSANDRA_CONTACT_POINTS and the
    tables (manage.py sync_cassandra). May be repeated, also after it was killed."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", choices=["cassandra"], help="copy")
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--compare", action="store_true", help="and read back what was copied, in this pass or before"
        )
        what.add_argument("--cut-over", action="store_true", help="and make it the log")
        what.add_argument("--back", action="store_true", help="make PostgreSQL the log again")
        what.add_argument(
            "--finish", action="store_true", help="no way back: delete what is left in PostgreSQL"
        )
        what.add_argument("--status", action="store_true", help="say where the log is, and change nothing")
        parser.add_argument(
            "--quick",
            action="store_true",
            help="of the cut-over: do not compare again what --compare has compared and has not changed since",
        )
        parser.add_argument(
            "--wait",
            type=int,
            default=600,
            metavar="S",
            help="for gateways, api processes and workers to stop (600)",
        )
        parser.add_argument("--workers", type=int, default=4, metavar="N", help="conversations at once (4)")

    def handle(self, *args: Any, **options: Any) -> None:
        copies = not (options["back"] or options["finish"] or options["status"])
        if copies and not options["to"]:
            raise CommandError("Say where: --to cassandra.")
        if copies and settings.LOG_STORE != "postgres":
            raise CommandError("The log is not on PostgreSQL any more (LOG_STORE).")
        if not settings.CASSANDRA_CONTACT_POINTS and (copies or options["back"]):
            raise CommandError("CASSANDRA_CONTACT_POINTS names no node.")
        self.hot = connect(settings.HOT_URL)
        try:
            asyncio.run(self._run(options))
        except Running:
            raise CommandError("Another move_log runs; two at once are not allowed.") from None
        except NotFenced:
            raise CommandError(
                "Those who write did not let the fence through. Nothing was switched; try again."
            ) from None
        except Differs as error:
            raise CommandError(f"Not moved: {error}. Nothing was switched; run it again.") from None
        except ExceptionGroup as group:
            raise CommandError(
                f"Not moved: {group.exceptions[0]!r}. Nothing was switched; run it again."
            ) from None
        except (Unavailable, psycopg.OperationalError) as error:
            raise CommandError(f"A server does not answer: {type(error).__name__}. Run it again.") from None
        except redis.RedisError as error:
            raise CommandError(f"The hot node cannot be reached: {type(error).__name__}.") from None

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    async def _run(self, options: dict[str, Any]) -> None:
        async with Ledger.open(settings.DATABASE_URL) as ledger:
            at = await ledger.at()
            if options["status"]:
                self._say(_SAID[at.state])
            elif options["finish"]:
                if at.state not in (moving.MOVED, moving.FINAL):
                    raise CommandError(f"There is nothing to finish. {_SAID[at.state]}")
                await ledger.finish()
                self._say("What was left of the log in PostgreSQL is deleted. There is no way back.")
            elif options["back"]:
                await self._back(ledger)
            elif at.state in (moving.MOVED, moving.RETURNING, moving.FINAL):
                raise CommandError("The log has moved. Start everything with LOG_STORE=cassandra.")
            elif at.fenced and not options["cut_over"]:
                raise CommandError(_SAID[at.state])
            else:
                await self._copy(ledger, options)

    async def _copy(self, ledger: Ledger, options: dict[str, Any]) -> None:
        db = await session().open()
        try:
            async with Mover.open(settings.DATABASE_URL, db, ledger, options["workers"]) as mover:
                await ledger.begin(now_ms())
                if options["cut_over"]:
                    await self._cut_over(ledger, mover, options)
                    return
                self._told(await mover.pass_(compare=options["compare"]))
                self._say("Run it again until little is copied; then run it with --cut-over.")
        finally:
            await db.close()

    def _told(self, did: Passed) -> None:
        compared = f"; {did.compared} compared, and the same" if did.compared else ""
        self._say(
            f"{did.conversations} conversations, of {did.logs} the events; {did.devices} devices; {did.copied} things copied"
            f"{compared}, in {did.seconds:.1f} s"
        )

    # -- the cut-over

    async def _cut_over(self, ledger: Ledger, mover: Mover, options: dict[str, Any]) -> None:
        at = await ledger.at()
        used = at.fenced or self._alive() > 0  # else nobody wrote since before this began
        if not at.fenced:
            self._told(await mover.pass_())
            await ledger.fence(now_ms())
            self._say("Writes are stopped: senders are told unavailable, sockets stay.")
        faults.point("move-fenced")
        try:
            if at.state != moving.COMPARED:
                self._told(await mover.pass_(compare=True, trust=options["quick"], last=True))
                await ledger.compared()
            self._say("Compared, and the same.")
            faults.point("move-compared")
            await self._alone(options["wait"])
        except BaseException:
            await ledger.lift()
            self._say("Nothing was switched: PostgreSQL is the log, and writes go on.")
            raise
        stopped = (await ledger.at()).fenced_at
        self.hot.flushdb()  # a new epoch: each device compares its positions with the heads at its next connect
        faults.point("move-emptied")
        await ledger.moved(now_ms())
        since = f"for {(now_ms() - stopped) / 1000:.1f} s" if used else "since all processes were stopped"
        self._say(f"Nothing was written {since}. Start everything with LOG_STORE=cassandra.")

    def _alive(self) -> int:
        return len(list(self.hot.scan_iter("gw:{*}:alive", count=1_000)))

    async def _alone(self, wait_s: int) -> None:
        """Until no process uses the log."""
        alive, deadline = self._alive(), time.monotonic() + wait_s
        if alive and wait_s:
            self._say(f"{alive} processes use the log: stop all gateways, api processes and workers now.")
        while alive := self._alive():
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{alive} processes use the log: stop all gateways, api processes and workers, then run it again."
                )
            await asyncio.sleep(0.1)

    # -- the way back

    def _stopped(self) -> None:
        if alive := self._alive():
            raise CommandError(
                f"{alive} processes use the log: stop all gateways, api processes and workers first."
            )

    async def _return(self, ledger: Ledger, way: WayBack) -> None:
        if waiting := await way.waiting():
            raise CommandError(
                f"There is no way back: {waiting} changes wait to be carried out (admin: System, Pending changes)."
            )
        if obstacles := await way.obstacles():
            raise CommandError(
                f"There is no way back: {len(obstacles)} conversations or devices have changed on Cassandra,"
                f" such as {obstacles[0]}."
            )
        self._stopped()
        await ledger.carry(way.carry)
        self.hot.flushdb()

    async def _back(self, ledger: Ledger) -> None:
        at = await ledger.at()
        if at.state == moving.FINAL:
            raise CommandError("There is no way back: what was in PostgreSQL is deleted.")
        if at.state not in (moving.MOVED, moving.RETURNING):
            await ledger.lift()
            self._say("PostgreSQL is the log, and writes go on.")
            return
        self._stopped()
        # Who starts now, by a supervisor perhaps, writes nothing that is then lost.
        await ledger.returning(True)
        try:
            # And who has looked before shows that it lives before it looks (:mod:`delivery.whereabouts`).
            self._stopped()
            db = await session().open()
            try:
                async with Source.open(settings.DATABASE_URL) as source:
                    await self._return(ledger, WayBack(db, source))
            finally:
                await db.close()
        except BaseException:
            if (await ledger.at()).state == moving.RETURNING:
                await ledger.returning(False)
            raise
        self._say("PostgreSQL is the log. Start everything with LOG_STORE=postgres.")
