"""``manage.py residue USER``: whether anything is left of a person anywhere, byte by byte, in every store as a whole.

It does not ask the registry of stores where to look: a store that was forgotten is what it is for.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Account, Erasure
from accounts.phone import normalize
from accounts.searching import needles_of_one
from accounts.services import persons
from accounts.stores import Person
from chats.stores import search_log, servers
from delivery.store import chosen
from media.search import search as search_objects
from whatsapp.infra import search_files, search_postgres, search_valkey
from whatsapp.infra.needles import Needles

#: Folders of the data folder in which servers that run beside us keep what is searched through them. Their write-ahead logs and
#: dead rows go by age (``docs/data-protection.md``).
SERVERS: Final = ("postgres", "valkey", "cassandra", "standby", "backups", "base-backup", "media", "s3")
#: Findings of one store that are printed.
MOST: Final = 50


class Command(BaseCommand):
    help = "Search every store, byte by byte, for what identifies a person. Fails when something is found."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="the userId")
        parser.add_argument("--phone", default="", help="the number that the person had, E.164")
        parser.add_argument("--device", action="append", default=[], metavar="ID", help="and a device")
        parser.add_argument("--other", action="append", default=[], metavar="TEXT", help="and a push token …")
        parser.add_argument("--no-contents", action="store_true", help="do not read the objects of media")

    def handle(self, *args: Any, **options: Any) -> None:
        person = self._person(options)
        try:
            needles = needles_of_one(person)
        except ValueError as error:
            raise CommandError(f"{error}: too short to search for.") from None
        found: Counter[str] = Counter()
        for store, place, kind in self._search(needles, contents=not options["no_contents"]):
            found[store] += 1
            if found[store] <= MOST:
                self.stdout.write(f"{store}: {kind} in {place}")
        if found:
            self._say_how_far(person.user_id)
            counted = ", ".join(f"{number} in {store}" for store, number in sorted(found.items()))
            raise CommandError(f"Something is left: {counted}.")
        self.stdout.write(f"Nothing is left. Searched for: {', '.join(sorted(needles.labels))}.")

    def _say_how_far(self, user_id: str) -> None:
        """Until an erasure is done something is left, and is to be."""
        erasure = Erasure.objects.filter(user=user_id).first()
        if erasure is not None:
            due = datetime.fromtimestamp(erasure.due_at / 1000, UTC)
            self.stdout.write(f"Its erasure is under way ({erasure.state}), and due by {due:%Y-%m-%d}.")

    def _person(self, options: dict[str, Any]) -> Person:
        """With what the account, or its erasure, says besides."""
        try:
            user_id = str(uuid.UUID(options["user"]))
        except ValueError:
            raise CommandError("USER is no id of an account.") from None
        account = Account.objects.filter(pk=user_id).first()
        erasure = Erasure.objects.filter(user=user_id).first()
        known = Person(user_id)
        if erasure is not None and erasure.identifiers is not None:
            known = persons.without_shared(persons.unseal(bytes(erasure.identifiers), user_id))
        elif account is not None:
            known = persons.person_of(account)
        return Person(
            user_id,
            normalize(options["phone"]) if options["phone"] else known.phone,
            (*known.device_ids, *options["device"]),
            (),
            (*known.others, *options["other"]),
        )

    def _search(self, needles: Needles[str], *, contents: bool) -> Iterator[tuple[str, str, str]]:
        """(store, place, kind)."""
        for place, kind in search_postgres.search(needles):
            yield "postgresql", place, kind
        if chosen.elsewhere():
            for place, kind in search_log(needles):
                yield "cassandra", place, kind
        for name, url in servers().items():
            for place, kind in search_valkey.search(needles, url):
                yield f"valkey ({name})", place, kind
        for place, kind in search_objects(needles, contents=contents):
            yield "media", place, kind
        for place, kind in search_files.search(needles, Path(settings.WHATSAPP_DATA), but=SERVERS):
            yield "files", place, kind
