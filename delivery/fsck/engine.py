"""What accounts, groups and the hot node are compared with: the engine's own rows, wherever they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from django.db import connection

from delivery.fsck.section import Keys, some
from delivery.store import chosen
from delivery.store import fsck as store_fsck
from delivery.store.fsck import Roster
from delivery.store.sync import SyncStore


class Engine(Protocol):
    """Pairs of users have the lower id first. Everything raises ``Unavailable``."""

    def users(self, after: str, limit: int) -> Keys:
        """Users with linked devices."""

    def devices(self, after: str, limit: int) -> Keys:
        """Linked devices, by id unless :attr:`unordered`."""

    #: Whether its keys come in an order that is not that of ids.
    unordered: bool

    def linked(self, devices: Sequence[str]) -> dict[str, str]:
        """Device → user, of those that the engine knows."""

    def blocked(self, members: Sequence[str]) -> set[tuple[str, str]]:
        """(who has blocked, whom): the blocks in force in direct conversations."""

    def have_direct(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Those of these pairs that have a direct conversation, with its id, "" if it is of no use here."""

    def rosters(self, conversations: Sequence[str]) -> dict[str, Roster]:
        """Who is a member now; unknown conversations are absent."""

    def owed(self, pairs: Sequence[tuple[str, str]], before: int) -> dict[tuple[str, str], int]:
        """(device, conversation) → the seq up to which a (user, device) has something to read that others sent by then (ms)."""

    def member_heads(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """(user, conversation) → head, of those where the user is or was a member."""


class PostgresEngine:
    unordered = False

    def __init__(self, store: SyncStore) -> None:
        self._ask = store.ask

    def users(self, after: str, limit: int) -> Keys:
        return some(self._ask(store_fsck.keys("users", after, limit)), limit)

    def devices(self, after: str, limit: int) -> Keys:
        return some(self._ask(store_fsck.keys("devices", after, limit)), limit)

    def linked(self, devices: Sequence[str]) -> dict[str, str]:
        return self._ask(store_fsck.linked(devices))

    def blocked(self, members: Sequence[str]) -> set[tuple[str, str]]:
        return self._ask(store_fsck.blocked(members))

    def have_direct(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        return dict.fromkeys(self._ask(store_fsck.have_direct(pairs)), "")

    def rosters(self, conversations: Sequence[str]) -> dict[str, Roster]:
        return self._ask(store_fsck.rosters(conversations))

    def owed(self, pairs: Sequence[tuple[str, str]], before: int) -> dict[tuple[str, str], int]:
        return self._ask(store_fsck.owed([device for _, device in pairs], before))

    def member_heads(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return self._ask(store_fsck.member_heads(pairs))


class CassandraEngine:
    unordered = True

    def users(self, after: str, limit: int) -> Keys:
        return Keys(*_inspect("users", after, limit))

    def devices(self, after: str, limit: int) -> Keys:
        return Keys(*_inspect("devices", after, limit))

    def linked(self, devices: Sequence[str]) -> dict[str, str]:
        return _dict("linked", devices)

    def blocked(self, members: Sequence[str]) -> set[tuple[str, str]]:
        return set(_inspect("blocked", members))

    def have_direct(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        return _dict("have_direct", pairs)

    def rosters(self, conversations: Sequence[str]) -> dict[str, Roster]:
        return _dict("rosters", conversations)

    def owed(self, pairs: Sequence[tuple[str, str]], before: int) -> dict[tuple[str, str], int]:
        return _dict("owed", pairs, before)

    def member_heads(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return _dict("member_heads", pairs)


def _inspect(question: str, *args: Any) -> Any:
    """In a transaction others may wait for its locks: what does not answer at once is looked at by another run."""
    ask = chosen.inspect_once if connection.in_atomic_block else chosen.inspect
    return ask(question, *args)


def _dict(question: str, *args: Any) -> dict[Any, Any]:
    return dict(_inspect(question, *args))
