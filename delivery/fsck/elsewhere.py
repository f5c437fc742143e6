"""The engine's own rows against each other where the log is on Cassandra (``delivery/store/cassandra/fsck*.py``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from delivery.fsck.section import Finding, Keys, Twice, facts
from delivery.store import chosen
from delivery.store.cassandra.fsck_rows import PARTS, Row
from delivery.store.fsck import ALL


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


#: Before the conversations: what they rely on.
_BEFORE = ("logs", "directs")


def before() -> list[Rows]:
    return [Rows(name) for name in _BEFORE]


def after() -> list[Rows]:
    return [Rows(name) for name in PARTS if name not in _BEFORE]
