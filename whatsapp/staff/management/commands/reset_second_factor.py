"""Recovery when no other superuser is left: forget somebody's authenticator and backup codes."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from whatsapp.staff import audit, second_factor


class Command(BaseCommand):
    help = "Forget the second factor of a member of staff; the next login with the password enrols anew."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")

    def handle(self, *, name: str, **_: Any) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no member of staff {name!r}.")
        with transaction.atomic():
            done = second_factor.reset(user=user)
            if done:
                audit.record(
                    by=user,
                    on=user,
                    action="factor.reset",
                    message="Second factor reset from the command line.",
                )
        self.stdout.write(
            "Reset. The next login with the password enrols anew."
            if done
            else "There was no second factor to reset."
        )
