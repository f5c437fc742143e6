"""``manage.py fsck``: what the system keeps in several places, compared; ``--repair`` mends what disagrees."""

from __future__ import annotations

import json
from typing import Any

import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chats.fsck import sections
from delivery.fsck.hot import connect
from delivery.fsck.runner import BATCH, Cursor, run
from delivery.fsck.section import BUSY, Finding
from delivery.store.chosen import elsewhere
from delivery.store.fsck import ALL
from delivery.store.interface import Unavailable


class Command(BaseCommand):
    help = """Compare log, heads, roster, receipts, positions, groups, devices, blocks, pictures and the hot node with each other.
    Safe on a running system. Shows ids and numbers, never contents. Exit code 1: something disagrees and is not mended."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="mend what disagrees")
        parser.add_argument(
            "--json", action="store_true", help="one JSON object a finding, and one at the end"
        )
        parser.add_argument(
            "--only", metavar="SECTION", action="append", default=[], help="this section (may be repeated)"
        )
        parser.add_argument("--seconds", type=float, help="stop after about so long, and say where to go on")
        parser.add_argument("--after", metavar="CURSOR", help="go on there: what an earlier run said")
        parser.add_argument(
            "--tail", type=int, default=ALL, help="look at the last N events of each log only"
        )
        parser.add_argument("--batch", type=int, default=BATCH, help="keys that are looked at together")

    def handle(self, *args: Any, **options: Any) -> None:
        known = sections(connect(settings.HOT_URL), options["tail"])
        names = [section.name for section in known]
        for name in options["only"]:
            if name not in names:
                raise CommandError(f"There is no section {name!r}; there are: {', '.join(names)}.")
        chosen = [section for section in known if not options["only"] or section.name in options["only"]]
        start = None
        if options["after"]:
            section, _, after = options["after"].partition("/")
            if section not in names:
                raise CommandError(f"--after {options['after']!r} is no cursor: it begins with a section.")
            start = Cursor(section, after)

        def tell(section: str, finding: Finding) -> None:
            shown = finding.shown(section)
            if options["json"]:
                self.stdout.write(json.dumps(shown))
            elif finding.kind == BUSY:
                self.stdout.write(f"{section:14} {finding.key}  busy: not looked at; run it again")
            else:
                rest = ", ".join(f"{name} {value}" for name, value in finding.facts)
                state = "mended" if finding.mended else "NOT MENDED" if options["repair"] else "found"
                self.stdout.write(f"{section:14} {finding.key}  {finding.kind:20} {rest}  [{state}]")

        try:
            report = run(
                chosen,
                repair=options["repair"],
                tell=tell,
                start=start,
                seconds=options["seconds"],
                batch=max(1, options["batch"]),
            )
        except Unavailable as error:
            where = "Cassandra" if elsewhere() else "PostgreSQL"
            raise CommandError(f"{where} cannot be reached: nothing can be compared now ({error}).") from None
        except redis.RedisError as error:
            raise CommandError(f"The hot node cannot be reached: {type(error).__name__}.") from None
        after = f"{report.cursor.section}/{report.cursor.after}" if report.cursor else None
        if options["json"]:
            end = {
                "checked": report.checked,
                "found": report.found,
                "mended": report.mended,
                "busy": report.busy,
                "after": after,
            }
            self.stdout.write(json.dumps(end))
        else:
            total = ", ".join(f"{number} {name}" for name, number in report.checked.items())
            self.stdout.write(f"looked at {total or 'nothing'}")
            self.stdout.write(f"found {report.found}, mended {report.mended}, busy {report.busy}")
            if after:
                self.stdout.write(f"time is up; go on with: --after {after}")
        if report.found > report.mended:
            raise SystemExit(1)
