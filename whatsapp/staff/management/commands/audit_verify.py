"""Is the audit log as it was written? See ``whatsapp/staff/chain.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from whatsapp.staff import chain


class Command(BaseCommand):
    help = (
        "Walk the chain of the audit log and compare it with its anchors; exit 1 at the first broken record."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anchors", type=Path, help="a file of anchors that was kept elsewhere")
        parser.add_argument("--newest", action="store_true", help="only the newest part")

    def handle(self, *, anchors: Path | None, newest: bool, **_: Any) -> None:
        try:
            kept = chain.read_anchors(anchors.read_text().splitlines()) if anchors else []
        except OSError as error:
            raise CommandError(f"The file of anchors cannot be read: {type(error).__name__}.") from None
        except ValueError as error:
            raise CommandError(f"The file of anchors has {error}.") from None
        result = chain.verify(whole=not newest, anchors=kept)
        if result.finding:
            raise CommandError(f"NOT WHOLE: {result.finding}")
        self.stdout.write(f"Whole: records {result.first} to {result.last}, {len(kept)} anchors of the file.")
