"""``./dev admin``: a superuser of a development system whose authenticator this command holds, so that nobody needs a phone.

Whoever can run it has the database and ``SECRET_KEY`` and could do the same by hand; in production it refuses.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from whatsapp.infra.clock import now_ms
from whatsapp.staff import second_factor
from whatsapp.staff.models import Authenticator


class Command(BaseCommand):
    help = "Development only: make a superuser with a second factor, or print the present code of one made before."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", default="admin")
        parser.add_argument(
            "--password", help="set this one; without it a new user gets a random one, which is printed"
        )

    def handle(self, *, name: str, password: str | None = None, **_: Any) -> None:
        if settings.WHATSAPP_ENV == "production":
            raise CommandError(
                "This is production: use createsuperuser, and enrol with an authenticator app."
            )
        user, made = User.objects.get_or_create(
            username=name, defaults={"is_staff": True, "is_superuser": True}
        )
        if made or password:
            password = password or secrets.token_urlsafe(12)
            user.set_password(password)
            user.save()
            self.stdout.write(f"  name      {name}\n  password  {password}")
        else:
            self.stdout.write(
                f"  name      {name}, with the password that was printed first (--password sets another)"
            )
        found = second_factor.authenticator_of(user)
        key = (
            second_factor.unseal(bytes(found.secret), user.pk)
            if found is not None
            else second_factor.new_key()
        )
        if key is None:
            raise CommandError(
                "The authenticator was sealed under another SECRET_KEY; reset_second_factor forgets it."
            )
        if found is None:
            sealed = second_factor.seal(key, user.pk)
            Authenticator.objects.create(
                user=user, name="development", confirmed=True, secret=sealed, created_at=now_ms()
            )
        self.stdout.write(
            f"  code      {second_factor.code_at(key, second_factor.now_step())}, good for half a minute; again for the next"
        )
        self.stdout.write(f"  or add this key to an authenticator app: {second_factor.key_text(key)}")
