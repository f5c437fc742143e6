"""What media hold of a person: rows, and files that nobody else has."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from django.db.models import Exists, OuterRef

from accounts.models import Account
from accounts.searching import leftovers_in_tables, needles_of, tables_of
from accounts.stores import Leftover, Part, Person
from media import erasure, exported
from media.models import Media, Reference, Rendition, State, Upload
from media.search import search
from media.services import contents
from media.storage import StorageUnavailable

AGAIN_MS: Final = 60_000
BATCH: Final = 500


class MediaStore:
    """Uploads, what was made of them, and who sent them. ``media/erasure.py`` says what others keep."""

    name = "media"

    def erase(self, person: Person, *, now: int) -> int:
        user = uuid.UUID(person.user_id)
        try:
            if erasure.step(user):
                return now
        except StorageUnavailable:
            return now + AGAIN_MS
        account = Account.objects.filter(pk=user).first()
        until = (account.retired_at or now) + contents.carried_ms() if account is not None else 0
        if until > now:
            return until
        gone = Media.objects.filter(
            ~Exists(Rendition.objects.filter(media=OuterRef("pk"))),
            ~Exists(Upload.objects.filter(media=OuterRef("pk"))),
            owner=user,
            state=State.GONE,
        )
        for rows in (Reference.objects.filter(sender_id=user), gone):
            if rows.filter(pk__in=list(rows.values_list("pk", flat=True)[:BATCH])).delete()[0]:
                return now
        return now + AGAIN_MS if Media.objects.filter(owner=user).exists() else 0

    def export(self, person: Person) -> Iterator[Part]:
        return exported.parts(person)

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        yield from leftovers_in_tables(self.name, people, tables_of("media"))
        for where, (user_id, what) in search(needles_of(people), contents=False):
            yield Leftover(self.name, where, what, user_id)
