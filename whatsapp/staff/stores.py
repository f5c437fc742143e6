"""What staff have written of a person: the log of the admin, the audit log, approvals."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from accounts.searching import leftovers_in_tables, tables_of
from accounts.services.persons import is_number, without_shared
from accounts.stores import Leftover, Part, Person
from whatsapp.infra.search_postgres import tables
from whatsapp.staff import approvals, audit

#: Apps whose stores search their own tables.
_OTHERS: Final = ("accounts", "groups", "media", "notifications", "delivery")
#: An approval about the person waits still: again in so many ms.
AGAIN_MS: Final = 60 * 60_000


class StaffStore:
    """That staff did something, who of them, and when, stays; about whom is forgotten (:func:`whatsapp.staff.audit.forget`). It
    searches whatever table no other store knows, so one that was forgotten is found."""

    name = "staff"

    def erase(self, person: Person, *, now: int) -> int:
        names = _names(person)
        if approvals.is_waiting(names):
            return now + AGAIN_MS
        return now if audit.forget(names) else 0

    def export(self, person: Person) -> Iterator[Part]:
        """Nothing: what staff wrote is theirs. What was done about the person is in that of the accounts."""
        del person
        return iter(())

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        known = frozenset().union(*(tables_of(app) for app in _OTHERS))
        rest = frozenset(table for _, table in tables()) - known
        return leftovers_in_tables(self.name, people, rest)


def _names(person: Person) -> tuple[str, ...]:
    """As staff and forms write them. Numbers only while nobody else has them, and without their plus, which some leave out."""
    own = without_shared(person)
    numbers = filter(None, (own.phone, *filter(is_number, own.others)))
    ids = (person.user_id, *person.device_ids)
    return (*ids, *(uuid.UUID(one).hex for one in ids), *(number.lstrip("+") for number in numbers))
