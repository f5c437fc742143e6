"""What the archive of ``./dev up --backups`` says it has; forget it where there is to be none any more."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from whatsapp.staff import backups
from whatsapp.staff.models import Backups


class Command(BaseCommand):
    help = (
        "Say what the archive of ./dev up --backups has. --forget: this installation keeps no backups any more, so nobody is to "
        "be told that they have stopped (an archive that runs says so anew)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--forget", action="store_true")

    def handle(self, *, forget: bool, **_: Any) -> None:
        if forget:
            Backups.objects.all().delete()
        found = backups.health()
        self.stdout.write(f"{found.name}: {found.state}")
        for name, value in found.facts:
            self.stdout.write(f"  {name}: {value}")
