"""The engine's own rows against each other where the log is on Cassandra (``delivery/store/cassandra/fsck*.py``)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.db import DatabaseError

from delivery.fsck.section import BUSY, Finding, Keys, Twice, facts, some
from delivery.models import Pending
from delivery.store import chosen, pending
from delivery.store.cassandra.fsck_rows import PARTS
from delivery.store.cassandra.fsck_walk import Row
from delivery.store.fsck import ALL
from delivery.store.interface import Unavailable
from delivery.store.sync import SyncStore
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

#: A change that waits longer (ms) is nobody's: the sweep carries each out within a minute of the store's being there.
WAITS_MS: Final = 10 * 60_000


class Conversations:
    """Documents against the rows of their conversations. ``tail``: events of each log that are looked at, from its end."""

    name = "conversations"

    def __init__(self, tail: int = ALL) -> None:
        self._tail = tail

    def keys(self, after: str, limit: int) -> Keys:
        return Keys(*chosen.inspect("conversations", after, limit))

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return list(chosen.inspect("look", keys, self._tail))

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for key in keys:
            for said in chosen.inspect("settle", key, repair, self._tail):
                yield Finding(said.kind, key, facts(**said.values), said.mended)


class Recent(Conversations):
    """The conversations to which something was appended since ``since`` (ms), the last events of each."""

    name = "recent"

    def __init__(self, since: int, tail: int) -> None:
        super().__init__(tail)
        self._since = since

    def keys(self, after: str, limit: int) -> Keys:
        return Keys(*chosen.inspect("recent", self._since, after, limit))


class Rows(Twice):
    """Of one of the parts that no document holds."""

    def __init__(self, name: str) -> None:
        self.name = name

    def keys(self, after: str, limit: int) -> Keys:
        return Keys(*chosen.inspect("walk", self.name, after, limit))

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        found = chosen.inspect("examine", self.name, keys)
        return [Finding(row.kind, row.key, facts(**row.facts)) for row in found]

    def _mend(self, finding: Finding) -> bool:
        chosen.inspect("mend", self.name, Row(finding.kind, finding.key, dict(finding.facts)))
        return finding not in self._examine([finding.key])


class Changes:
    """Changes of services that the log was not told of: until then it is as it was before them."""

    name = "changes"

    def __init__(self, store: SyncStore) -> None:
        self._store = store

    def keys(self, after: str, limit: int) -> Keys:
        ids = Pending.objects.filter(pk__gt=int(after or 0)).order_by("pk").values_list("pk", flat=True)
        return some([str(id_) for id_ in ids[:limit]], limit)

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return [finding.key for finding in self._examine(keys)]

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        """Never what they say: it may have contents in it."""
        late = now_ms() - WAITS_MS
        found = []
        for row in Pending.objects.filter(pk__in=keys).order_by("pk"):
            said: dict[str, Any] = {"subject": row.subject, "what": pending.name_of(row.operation)}
            if row.parked:
                found.append(
                    Finding("change.parked", str(row.pk), facts(**said, error=row.error or "unknown"))
                )
            elif 0 < row.written_at < late:
                found.append(Finding("change.waits", str(row.pk), facts(**said)))
        return found

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for finding in self._examine(keys):
            if not repair or finding.kind == "change.parked":
                yield finding  # what has failed so often is not tried again by a machine
                continue
            try:
                self._store.settle(str(dict(finding.facts)["subject"]))
            except (Unavailable, DatabaseError):
                yield Finding(BUSY, finding.key)
                continue
            except Exception as error:  # it is the change that fails: the sweep parks it
                log.warning("change %s cannot be carried out: %s", finding.key, type(error).__name__)
            yield finding._replace(mended=not self._examine([finding.key]))


#: Before the conversations: what they rely on.
_BEFORE = ("logs", "directs")


def before() -> list[Rows]:
    return [Rows(name) for name in _BEFORE]


def after() -> list[Rows]:
    return [Rows(name) for name in PARTS if name not in _BEFORE]
