"""``manage.py residency_audit``: whether anything is here that belongs to a region which is not."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chats.services.residency import SAMPLE, audit
from delivery.store.interface import Unavailable
from whatsapp.infra import residency

MOST = 1_000_000


class Command(BaseCommand):
    help = "Look at rows of each table, chosen by chance, for those of a region that is not held here. Fails when there are some."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N", help="rows of each table")
        parser.add_argument("--json", action="store_true", help="an object: looked, found, violations")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["sample"] <= MOST:
            raise CommandError(f"--sample is 1 to {MOST}.")
        if not residency.current().on:
            self.stdout.write("There are no regions (REGIONS): everything may be here.")
            return
        try:
            result = audit(options["sample"])
        except Unavailable:
            raise CommandError("The log does not answer; nothing is known.") from None
        if options["json"]:
            violations = [one._asdict() for one in result.violations]
            told = {"looked": result.looked, "found": result.found, "violations": violations}
            self.stdout.write(json.dumps(told))
        else:
            for table, number in sorted(result.looked.items()):
                self.stdout.write(f"{table}: {number} looked at, {result.found[table]} that must not be here")
            for one in result.violations:
                self.stdout.write(
                    f"  {one.table} {one.key}: region {'none' if one.region is None else one.region}"
                )
        if result.violations:
            raise SystemExit(1)
