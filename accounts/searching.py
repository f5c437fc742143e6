"""What of a person is searched for, byte by byte, and how a store of Django tables searches itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.apps import apps

from accounts.stores import Leftover, Person
from whatsapp.infra.needles import LEAST, Needles
from whatsapp.infra.search_postgres import search

#: Whose (``userId``), and which of the person's identifiers it is.
Whose = tuple[str, str]


def needles_of(people: Sequence[Person]) -> Needles[Whose]:
    """What is looked for, of each what is theirs alone: ids of conversations are those of others, too."""
    return Needles(((person.user_id, kind), text) for person in people for kind, text in _identifiers(person))


def needles_of_one(person: Person) -> Needles[str]:
    """The same of one person: labels are kinds. Raises ``ValueError`` for what is too short."""
    return Needles(_identifiers(person))


def _identifiers(person: Person) -> Iterator[tuple[str, str]]:
    yield "user_id", person.user_id
    if person.phone:
        yield "phone", person.phone
    for device in person.device_ids:
        yield "device_id", device
    for text in person.others:
        if len(text) >= LEAST:
            yield "other", text


def tables_of(app_label: str) -> frozenset[str]:
    """Names of the tables of an app, with those between many and many."""
    models = apps.get_app_config(app_label).get_models(include_auto_created=True)
    return frozenset(
        model._meta.db_table for model in models if model._meta.managed and not model._meta.proxy
    )


def leftovers_in_tables(store: str, people: Sequence[Person], tables: frozenset[str]) -> Iterator[Leftover]:
    """What is found of these people in these tables."""
    for place, (user_id, kind) in search(needles_of(people), only=tables):
        yield Leftover(store, place, kind, user_id)
