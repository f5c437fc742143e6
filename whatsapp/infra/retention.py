"""How long everything is kept: one table for all stores, who enforces each row of it, and what is left that should be gone.

Each app adds its rows in ``AppConfig.ready`` (``<app>/retention.py``). A policy whose rows a job deletes says which rows those
are (:attr:`Policy.due`): the job deletes by it, and the check looks with the same words for what is left a while later, so the
two cannot come to mean different things. Tables without anything about a person are named in :func:`impersonal` with the reason;
a test fails for a table that is in neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from whatsapp.infra import metrics

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
#: No check counts further: more than that is as bad.
MOST: Final = 10_000

_purged = metrics.Counters(
    "whatsapp_retention_purged", "Rows and objects deleted because their time was over.", ("policy",)
)


@dataclass(frozen=True)
class Policy:
    """How long one kind of data is kept.

    ``where``: tables (``app.Model``), tables of Cassandra (``cassandra.event``), ``valkey.…`` (a prefix of keys), ``files.…``.
    ``keep``: in words; ``by``: what ends it: the name of a job in ``CELERY_BEAT_SCHEDULE``, or ``ttl: …``, ``erasure``,
    ``operator: …`` when no job of ours does. ``due(now)``: the rows that may go now, a queryset that an index answers.
    ``overdue(now)``: for what is no queryset, how many should be gone, at most :data:`MOST`. Neither: a time to live ends it, or
    a person does. ``grace_ms``: the job has so long; only what is older is overdue.
    """

    name: str
    what: str
    where: tuple[str, ...]
    why: str
    keep: str
    by: str
    due: Callable[[int], Any] | None = None
    overdue: Callable[[int], int] | None = None
    grace_ms: int = 3 * HOUR_MS

    def left(self, now: int) -> int | None:
        """How many rows should be gone by now, at most :data:`MOST`; None: nobody can count them."""
        if self.overdue is not None:
            return min(self.overdue(now - self.grace_ms), MOST)
        if self.due is None:
            return None
        return len(self.due(now - self.grace_ms).order_by().values_list("pk")[:MOST])


_policies: Final[dict[str, Policy]] = {}
_impersonal: Final[dict[str, str]] = {}
_note: Callable[[str, int], None] | None = None


def register(policies: Iterable[Policy]) -> None:
    """Add rows. Raises ``ValueError`` when another row has the name."""
    for policy in policies:
        if _policies.setdefault(policy.name, policy) is not policy:
            raise ValueError(f"there is a policy {policy.name!r} already")


def impersonal(reason: str, *where: str) -> None:
    """These tables tell nothing about a person, for this reason."""
    _impersonal.update(dict.fromkeys(where, reason))


def policies() -> tuple[Policy, ...]:
    """By name."""
    return tuple(_policies[name] for name in sorted(_policies))


def without_a_person() -> dict[str, str]:
    """Table → why it needs no policy."""
    return dict(_impersonal)


def bind(note: Callable[[str, int], None]) -> None:
    """Who writes down what was purged."""
    global _note
    _note = note


def purged(name: str, number: int) -> None:
    """A job has looked for what this policy ends, and deleted so many (0: there was none). Raises ``KeyError`` for no policy."""
    _policies[name]
    if number:
        _purged.add(name, number=number)
    if _note is not None:
        _note(name, number)


def purge(by: str, now: int) -> int:
    """Delete what is due of every policy that this job enforces by its rows. Returns how many rows."""
    total = 0
    for policy in policies():
        if policy.by == by and policy.due is not None:
            counts = policy.due(now).delete()[1]
            # What goes along by a cascade is not of the policy.
            number = counts.get(policy.due(now).model._meta.label, 0)
            purged(policy.name, number)
            total += number
    return total
