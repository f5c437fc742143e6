"""The engine's own tables, against each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction

from delivery.fsck.section import BUSY, Finding, Keys, facts, some
from delivery.store import fsck as store_fsck
from delivery.store.fsck import ALL, Check
from delivery.store.fsck_log import LOG
from delivery.store.fsck_roster import DEVICES, DIRECTS, PROGRESS, ROSTER
from delivery.store.interface import Unavailable
from delivery.store.sync import SyncStore

_CHECKS: dict[str, Sequence[Check]] = {
    "conversations": (*LOG, *ROSTER),
    "directs": DIRECTS,
    "devices": DEVICES,
    "progress": PROGRESS,
}
#: Mending one thing may show the next of its kind: a hole too long for one go, say.
_ROUNDS = 3


class Tables:
    """Conversations, pairs of users, devices or writers. ``tail``: events of each log that are looked at, from its end."""

    def __init__(self, store: SyncStore, name: str, tail: int = ALL) -> None:
        self.name = self._of = name
        self._store, self._tail = store, tail
        self._checks = _CHECKS[name]

    def keys(self, after: str, limit: int) -> Keys:
        return some(self._store.ask(store_fsck.keys(self._of, after, limit)), limit)

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        suspects: dict[str, None] = {}
        for check in self._checks:
            for wrong in self._store.ask(store_fsck.find(check, keys, self._tail)):
                suspects[wrong.key] = None
        return list(suspects)

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for key in keys:
            try:
                with transaction.atomic():
                    found = self._settle(key, repair)
            except Unavailable:
                found = [Finding(BUSY, key)]
            yield from found

    def _settle(self, key: str, repair: bool) -> list[Finding]:
        ask = self._store.ask
        ask(store_fsck.lock(self._of, key))
        found: list[Finding] = []
        for check in self._checks:
            wrong = ask(store_fsck.find(check, [key], self._tail))
            first, left = wrong, wrong
            for _ in range(_ROUNDS if repair and check.mend else 0):
                for one in left:
                    ask(store_fsck.mend(check, one))
                left = ask(store_fsck.find(check, [key], self._tail))
                if not left:
                    break
            mended = repair and bool(check.mend) and not left
            found += [Finding(check.kind, key, facts(**one.values), mended) for one in first]
        return found


class Recent(Tables):
    """The conversations to which something was appended since ``since`` (ms), the last events of each."""

    def __init__(self, store: SyncStore, since: int, tail: int) -> None:
        super().__init__(store, "conversations", tail)
        self.name = "recent"
        self._since = since

    def keys(self, after: str, limit: int) -> Keys:
        return some(self._store.ask(store_fsck.recent(self._since, after, limit)), limit)
