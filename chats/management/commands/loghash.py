"""``manage.py loghash ID``: how an id looks in the logs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from whatsapp.infra.logs import BadMonth, Hasher


class Command(BaseCommand):
    help = "Print the keyed hash by which a user, device, conversation, message or address appears in the logs of a month."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", nargs="+", help="an id or network address")
        parser.add_argument("--month", default="", help="such as 2026-11; default: the present one (UTC)")

    def handle(self, *args: Any, **options: Any) -> None:
        hasher = Hasher(settings.LOG_HASH_KEY)
        try:
            for value in options["id"]:
                self.stdout.write(hasher(value, options["month"]))
        except BadMonth as error:
            raise CommandError(str(error)) from None
