"""What the engine holds of a person: conversations, and what the hot nodes remember."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import redis
from django.conf import settings

from accounts.abuse import buckets, triggers
from accounts.models import Account
from accounts.searching import leftovers_in_tables, needles_of, tables_of
from accounts.services.erasure import wait_ms
from accounts.stores import Leftover, Part, Person
from delivery.hot_keys import keys_of
from delivery.store import chosen
from delivery.store.interface import Unavailable
from delivery.store.sync import store
from notifications.shards import calls_key, due_key, shard_of
from whatsapp.infra import hot_sync, search_valkey
from whatsapp.infra.needles import Label, Needles

#: What somebody is still owed has not expired, or a server was away: again in so many ms.
AGAIN_MS: Final = 60 * 60_000
#: Conversations of one call.
LIMIT: Final = 100


class ConversationStore:
    """The log and all that goes with it (:meth:`delivery.store.interface.Store.forget_user`). Retention takes what the person has
    sent; this waits for it, and takes the rest."""

    name = "conversations"

    def erase(self, person: Person, *, now: int) -> int:
        account = Account.objects.filter(pk=person.user_id).first()
        ended_at = (account.retired_at if account is not None else None) or now - wait_ms()
        try:
            forgotten = store.forget_user(person.user_id, person.device_ids, ended_at, now, LIMIT)
        except Unavailable:
            return now + AGAIN_MS
        if forgotten.done == LIMIT:
            return now
        return now + AGAIN_MS if forgotten.left else 0

    def export(self, person: Person) -> Iterator[Part]:
        del person
        return iter(())

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        yield from leftovers_in_tables(self.name, people, tables_of("delivery"))
        if chosen.elsewhere():
            for where, (user_id, what) in search_log(needles_of(people)):
                yield Leftover(self.name, where, what, user_id)


def search_log(needles: Needles[Label]) -> Iterator[tuple[str, Label]]:
    """(place, label) of what is found in the keyspace of a log that is outside of the database. Raises ``Unavailable``."""
    for table in chosen.inspect("tables"):
        state: Any = None
        while True:
            labels, state = chosen.inspect("search", needles, table, state)
            yield from ((f"cassandra {table}", label) for label in labels)
            if state is None:
                break


class HotStore:
    """Sessions, marks, last seen: hints all of them, most with a time to live. The broker's queues hold references that are gone
    within a minute; nothing is taken out of them."""

    name = "hot"

    def erase(self, person: Person, *, now: int) -> int:
        try:
            with hot_sync.client(settings.HOT_URL) as hot:
                for key in keys_of(person.user_id, person.device_ids):
                    hot.delete(key)
                for waiting in (due_key, calls_key):
                    hot.zrem(waiting(shard_of(person.user_id)), person.user_id)
                hot.srem(buckets.CANDIDATES, person.user_id)
                for key in buckets.keys(person.user_id, triggers.table(), now):
                    hot.delete(key)
        except redis.RedisError:
            return now + AGAIN_MS
        return 0

    def sweep(self, people: Sequence[Person]) -> None:
        """Counts, acts of forwarding and the like end by themselves, soon after the last act; whatever is there still, by
        whatever name, goes now. Raises ``redis.RedisError``."""
        tags = {person.user_id.encode() for person in people}
        with hot_sync.client(settings.HOT_URL) as hot:
            for node in hot_sync.each_node(hot):
                for key in node.scan_iter(match="{*}:*", count=1_000):
                    if key[1 : key.find(b"}")] in tags:
                        hot.delete(key)

    def export(self, person: Person) -> Iterator[Part]:
        del person
        return iter(())

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        needles = needles_of(people)
        for name, url in servers().items():
            for where, (user_id, what) in search_valkey.search(needles, url):
                yield Leftover(self.name, f"{name} {where}", what, user_id)


def servers() -> dict[str, str]:
    """Name → address of every Valkey there is; one that has several tasks is named by the first."""
    found = {
        "hot": settings.HOT_URL,
        "broker": settings.BROKER_URL,
        "cache": settings.CACHE_URL,
        "admin": settings.ADMIN_LAYER_URL,
    }
    names: dict[str, str] = {}
    for name, url in found.items():
        if url.startswith(("redis", "unix", "cluster", "valkey")):
            names.setdefault(url, name)
    return {name: url for url, name in names.items()}
