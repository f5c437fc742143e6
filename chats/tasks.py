"""Housekeeping over all apps. May be repeated and run twice at once."""

from __future__ import annotations

import logging
from collections import Counter

from celery import shared_task

from chats.fsck import scheduled
from chats.services import residency
from delivery.fsck.section import BUSY, Finding

log = logging.getLogger(__name__)


@shared_task
def residency_audit() -> dict[str, int]:
    """Look at rows by chance for those that belong to a region which is not held here. Returns how many of each table."""
    return residency.scheduled()


@shared_task
def fsck() -> int:
    """The scheduled, bounded fsck. Returns how much it found. Its log names kinds and numbers: ids are for the command."""
    kinds: Counter[str] = Counter()

    def tell(section: str, finding: Finding) -> None:
        kinds[finding.kind] += finding.kind != BUSY

    report = scheduled(tell)
    if report is None:
        return 0
    if report.found:
        log.warning(
            "fsck found %d, mended %d: %s",
            report.found,
            report.mended,
            ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()) if number),
        )
    return report.found
