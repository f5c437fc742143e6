"""Walks along sections within a budget, and knows where it stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from delivery.fsck.section import BUSY, Finding, Section
from whatsapp.infra import metrics

log = logging.getLogger(__name__)

BATCH = 200


class Cursor(NamedTuple):
    """Where to go on: behind this key of this section. "" and "": from the beginning."""

    section: str = ""
    after: str = ""


class Report(NamedTuple):
    checked: dict[str, int]  # section → keys
    found: int
    mended: int
    busy: int
    cursor: Cursor | None  # None: it came to the end


def run(
    sections: Sequence[Section],
    *,
    repair: bool,
    tell: Callable[[str, Finding], None],
    start: Cursor | None = None,
    seconds: float | None = None,
    batch: int = BATCH,
) -> Report:
    """Look at the keys of all sections in order, from ``start`` on, for about so many seconds. ``tell`` hears of each finding.

    Raises what the servers raise: ``Unavailable``, ``redis.RedisError``.
    """
    begins = start or Cursor()
    names = [section.name for section in sections]
    first = names.index(begins.section) if begins.section in names else 0
    ends_at = time.monotonic() + seconds if seconds is not None else None
    checked: dict[str, int] = {}
    found = mended = busy = 0
    for place, section in enumerate(sections[first:]):
        after = begins.after if place == 0 and section.name == begins.section else ""
        while True:
            if ends_at is not None and time.monotonic() >= ends_at:
                return Report(checked, found, mended, busy, Cursor(section.name, after))
            keys, after = section.keys(after, batch)
            checked[section.name] = checked.get(section.name, 0) + len(keys)
            metrics.FSCK_CHECKED.add(section.name, number=len(keys))
            suspects = list(section.look(keys)) if keys else []
            for finding in section.settle(suspects, repair) if suspects else ():
                if finding.kind == BUSY:
                    busy += 1
                else:
                    found += 1
                    mended += finding.mended
                    metrics.FSCK_FINDINGS.add(finding.kind, "yes" if finding.mended else "no")
                tell(section.name, finding)
            if not after:
                break
    return Report(checked, found, mended, busy, None)
