"""Where counts are on Valkey: two buckets of an hour and two of a day, an account. ``{user}:abuse:<hours>:<n>`` is a hash with
what is counted one by one, ``…:<signal>`` a HyperLogLog of what is counted once each. A bucket is kept for two of its lengths.

The last hour is this bucket and, of the one before, the part that is not over yet: no window that everybody fills anew at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from accounts.abuse.triggers import HOURS, NUMBERS, SETS, Table

#: Accounts whose counts came near a threshold; taken from by who judges.
CANDIDATES: Final = "abuse:candidates"
#: Above, no more are written down: something is wrong with those who take them.
CANDIDATES_MOST: Final = 100_000
CANDIDATES_MS: Final = 3_600_000

_HOUR_MS: Final = 3_600_000

Command = tuple[Any, ...]
#: A command, and the count that its answer is: (signal, hours), or None.
Asked = tuple[Command, tuple[str, int] | None]


def key(user: str, hours: int, number: int, signal: str = "") -> str:
    return f"{{{user}}}:abuse:{hours}:{number}" + (f":{signal}" if signal else "")


def adding(
    user: str, numbers: Mapping[str, int], sets: Mapping[str, Collection[str]], table: Table, now: int
) -> Iterator[Asked]:
    """What adds these to an account's buckets. Only what some trigger asks for."""
    for hours in HOURS:
        at, keep = now // (hours * _HOUR_MS), 2 * hours * _HOUR_MS
        hashed = False
        for signal, number in numbers.items():
            if number and hours in table.needed.get(signal, ()):
                hashed = True
                yield ("HINCRBY", key(user, hours, at), signal, number), (signal, hours)
        if hashed:
            yield ("PEXPIRE", key(user, hours, at), keep), None
        for signal, items in sets.items():
            if items and hours in table.needed.get(signal, ()):
                name = key(user, hours, at, signal)
                yield ("PFADD", name, *items), None
                yield ("PEXPIRE", name, keep), None
                yield ("PFCOUNT", name), (signal, hours)


def reaches_a_mark(asked: Sequence[Asked], answers: Sequence[Any], table: Table) -> bool:
    """Whether an account is to be looked at, by the answers to :func:`adding`."""
    return any(
        what is not None and type(answer) is int and answer >= table.marks.get(what, float("inf"))
        for (_, what), answer in zip(asked, answers, strict=True)
    )


def reading(user: str, table: Table, now: int) -> Iterator[Asked]:
    """What reads an account's buckets: this one, the one before, and for sets both together."""
    for signal, windows in table.needed.items():
        for hours in windows:
            at = now // (hours * _HOUR_MS)
            if signal in NUMBERS:
                for number in (at, at - 1):
                    yield ("HGET", key(user, hours, number), signal), (signal, hours)
            elif signal in SETS:
                here, before = (key(user, hours, number, signal) for number in (at, at - 1))
                for names in ((here,), (before,), (here, before)):
                    yield ("PFCOUNT", *names), (signal, hours)


def counts(asked: Sequence[Asked], answers: Sequence[Any], now: int) -> dict[tuple[str, int], float]:
    """What the answers to :func:`reading` say of the last hours."""
    parts: dict[tuple[str, int], list[int]] = {}
    for (_, what), answer in zip(asked, answers, strict=True):
        assert what is not None
        parts.setdefault(what, []).append(int(answer or 0))
    found = {}
    for (signal, hours), values in parts.items():
        length = hours * _HOUR_MS
        left = 1 - now % length / length
        estimate = values[0] + values[1] * left
        # Who was written to in both is one.
        found[signal, hours] = min(estimate, values[2]) if signal in SETS else estimate
    return found


def keys(user: str, table: Table, now: int) -> list[str]:
    """All that may be there of an account."""
    found = []
    for hours in HOURS:
        at = now // (hours * _HOUR_MS)
        for number in (at, at - 1):
            found.append(key(user, hours, number))
            found += [key(user, hours, number, signal) for signal in sorted(SETS)]
    return found
