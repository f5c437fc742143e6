"""Everything that is kept of a person, wherever it is kept: what erasure, export and the search for leftovers visit.

Each app registers its stores in ``AppConfig.ready``; imports point down, so this file knows none of them. A store that is not
registered is one that is forgotten: ``manage.py residue`` looks at databases, buckets and files as a whole and finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable


@dataclass(frozen=True)
class Person:
    """Whose data it is, with everything that could identify its owner, as it was when the deletion was asked for.

    ``user_id``: text of a UUID. ``phone``: E.164 or ''. ``device_ids``: of linked and unlinked devices. ``conversations``: ids of
    direct conversations and of groups that the person is or was in, as far as known. ``others``: further strings that are the
    person's alone (push tokens, installation hashes in hex, names of photos, numbers that it had before).
    """

    user_id: str
    phone: str = ""
    device_ids: tuple[str, ...] = ()
    conversations: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One file of an export. ``path``: inside the archive, ``<store>/…``. ``data``: its bytes, in pieces of any size."""

    path: str
    data: Iterable[bytes]


@dataclass(frozen=True)
class Leftover:
    """Something of the person that was found. ``where``: table and key, key of a bucket, file. ``what``: which identifier, by
    its kind alone (``phone``, ``user_id`` …), so that what is shown of a finding repeats no personal data. ``user_id``: whose
    it is."""

    store: str
    where: str
    what: str
    user_id: str


class Held(Exception):
    """A legal hold keeps something of the person: raised by :meth:`Store.erase`, which has deleted all the rest."""


class Store(Protocol):
    """One place. Every method may be called again after a crash, and twice at once."""

    name: str

    def erase(self, person: Person, *, now: int) -> int:
        """Delete what may be deleted now, some hundred rows or objects at most. Returns 0 when nothing is left, else when (ms)
        to call again (``now`` or less: at once). What must be kept a while (messages that others have not had yet) counts as
        left. Raises :class:`Held`."""

    def export(self, person: Person) -> Iterator[Part]:
        """What this store holds about the person, in formats that machines read (JSON Lines, the files themselves)."""

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        """Search byte-wise for each identifier of some hundred people, in one pass, also where none should be."""


@runtime_checkable
class Sweeping(Protocol):
    """A store in which something is found only by walking over everything."""

    def sweep(self, people: Sequence[Person]) -> None:
        """Delete what is there of some hundred people, in one pass: called before their leftovers are searched for."""


@runtime_checkable
class Knowing(Protocol):
    """A store that knows a person by more than ids and the number."""

    def knows(self, user_id: str) -> Iterable[str]:
        """What it knows the person by (:attr:`Person.others`): asked for in the transaction in which the account ends, before
        anything of it goes."""

    def shared(self, person: Person) -> Iterable[str]:
        """Those of :attr:`Person.others` that somebody else has by now: whose finding would say nothing."""


_stores: Final[dict[str, Store]] = {}


def register(store: Store) -> None:
    """Raises ``ValueError`` when another store has its name."""
    if _stores.setdefault(store.name, store) is not store:
        raise ValueError(f"there is a store {store.name!r} already")


def all_stores() -> tuple[Store, ...]:
    """By name."""
    return tuple(_stores[name] for name in sorted(_stores))
