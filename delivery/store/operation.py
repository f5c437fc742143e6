"""How a store operation is written once for two executors.

An operation is a generator: it yields :class:`Query` objects, receives the rows of each as a list of tuples, and returns its
result. It does no input or output itself. :class:`delivery.store.postgres.PostgresStore` drives it over an asynchronous pool,
:class:`delivery.store.sync.SyncStore` over Django's connection.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Rows = list[tuple[Any, ...]]


class Query(NamedTuple):
    sql: str
    params: Sequence[Any] | Mapping[str, Any] = ()
    #: The operation handles :class:`delivery.store.errors.Clash`: inside a transaction this needs a savepoint.
    guarded: bool = False


Operation = Generator[Query, Rows, T]


def uuids(ids: Iterable[str]) -> str:
    """The text of a ``uuid[]``. Built by hand: the driver's list dumper costs a microsecond an item."""
    return "{" + ",".join(ids) + "}"


def numbers(values: Iterable[int]) -> str:
    """The text of an array of integers."""
    return "{" + ",".join(map(str, values)) + "}"
