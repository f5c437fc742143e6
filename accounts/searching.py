"""What of a person is searched for, byte by byte, and how a store of Django tables searches itself."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps

from accounts.stores import Leftover, Person
from whatsapp.infra.needles import LEAST, Needles
from whatsapp.infra.search_postgres import search


def needles_of(person: Person) -> Needles:
    """The person's own: ids of conversations are those of others, too."""
    named = [("user_id", person.user_id)]
    named += [("phone", person.phone)] if person.phone else []
    named += [("device_id", device) for device in person.device_ids]
    named += [("other", text) for text in person.others if len(text) >= LEAST]
    return Needles(named)


def tables_of(app_label: str) -> frozenset[str]:
    """Names of the tables of an app, with those between many and many."""
    models = apps.get_app_config(app_label).get_models(include_auto_created=True)
    return frozenset(
        model._meta.db_table for model in models if model._meta.managed and not model._meta.proxy
    )


def leftovers_in_tables(store: str, person: Person, tables: frozenset[str]) -> Iterator[Leftover]:
    """What is found of a person in these tables."""
    for place, kind in search(needles_of(person), only=tables):
        yield Leftover(store, place, kind)
