"""What a part of fsck is: keys to walk along, a look at many of them, and a sure look at one, which may mend."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

#: A key could not be locked in time, or its server did not answer; another run will look at it.
BUSY = "busy"
APART_S: Final = 3.0


class Finding(NamedTuple):
    """Something that disagrees. ``facts``: ids and numbers, never contents or what identifies a person outside this system."""

    kind: str  # such as head.behind: what is wrong, then how
    key: str
    facts: tuple[tuple[str, str | int], ...] = ()
    mended: bool = False

    def shown(self, section: str) -> dict[str, Any]:
        return {
            "section": section,
            "kind": self.kind,
            "key": self.key,
            **dict(self.facts),
            "mended": self.mended,
        }


def facts(**values: Any) -> tuple[tuple[str, str | int], ...]:
    return tuple(
        (name, value if isinstance(value, int) else str(value))
        for name, value in values.items()
        if value is not None
    )


class Keys(NamedTuple):
    """Some keys, and where to go on; "": there are no more."""

    keys: Sequence[str]
    after: str


class Section(Protocol):
    """A look may be wrong about a live system, since what it compares is not read at one moment. :meth:`settle` is not: it looks
    again where nothing can move meanwhile (a lock), or twice, so far apart that what was on its way has arrived."""

    name: str

    def keys(self, after: str, limit: int) -> Keys:
        """The keys above ``after`` ("": from the first)."""

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        """Those of the keys that seem to have something wrong."""

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        """What is wrong with these, and mended if ``repair``. The kind :data:`BUSY`: it could not be said now."""


def some(keys: Sequence[str], limit: int) -> Keys:
    """Of keys that ascend and were asked for with this limit."""
    return Keys(keys, keys[-1] if len(keys) >= limit and keys else "")


class Twice:
    """A section of what cannot be locked and moves all the time: each finding is looked at twice, :data:`APART_S` apart, and
    counts if it has not changed at all."""

    name: str
    apart_s = APART_S

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        raise NotImplementedError

    def _mend(self, finding: Finding) -> bool:
        raise NotImplementedError

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return list(dict.fromkeys(finding.key for finding in self._examine(keys)))

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        first = set(self._examine(keys))
        if not first:
            return
        time.sleep(self.apart_s)
        for finding in self._examine(keys):
            if finding in first:
                yield finding._replace(mended=repair and self._mend(finding))
