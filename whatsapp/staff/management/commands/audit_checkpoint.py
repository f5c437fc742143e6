"""Retention of the audit log: verify it, keep its checkpoint, forget what is older."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from whatsapp.infra.clock import now_ms
from whatsapp.staff import chain

_DAY_MS = 86_400_000


class Command(BaseCommand):
    help = "Forget audit records that are older than so many days (at least 365), behind a checkpoint."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, required=True)

    def handle(self, *, days: int, **_: Any) -> None:
        try:
            gone = chain.checkpoint(before=now_ms() - days * _DAY_MS)
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{gone} records are forgotten.")
