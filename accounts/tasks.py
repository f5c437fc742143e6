"""Housekeeping. Every statement may be repeated and run twice at once."""

from __future__ import annotations

import logging
import uuid

from celery import shared_task

from accounts.archives import ArchivesUnavailable
from accounts.guards import slots
from accounts.models import Photo
from accounts.services import (
    abuse,
    erasure,
    evidence,
    exports,
    identities,
    idle,
    late,
    lawful,
    limit_overrides,
    retention,
    sanctions,
    verification,
)
from accounts.services.pictures import drop_unused
from delivery import tasks
from whatsapp.infra.clock import now_ms
from whatsapp.infra.retention import purge, purged

log = logging.getLogger(__name__)


@shared_task
def tell_identities() -> int:
    """Tell of identity keys that have changed. What a run does not finish, or a broker forgets, the schedule brings back."""
    return identities.tell_changes()


def tell_identities_soon() -> None:
    """:func:`tell_identities` from anywhere: does not wait for the broker."""
    tasks.enqueue_soon(tell_identities)


@shared_task
def prune() -> int:
    """Delete what has no effect any more, by the table of ``accounts/retention.py``. Returns how many rows."""
    now = now_ms()
    emptied, ended = evidence.purge(now), 0
    while some := limit_overrides.prune(now=now):
        ended += some
    purged("evidence", emptied)
    purged("limit_overrides", ended)
    return emptied + ended + purge("accounts-prune", now)


@shared_task
def retention_check() -> dict[str, int]:
    """Look for what should be gone and is not, in every store. Returns how much of each policy, where there is something."""
    return {name: left for name, left in retention.check(now_ms()).items() if left}


@shared_task
def sum_up_codes() -> int:
    """Sum the codes of the spans that are over (``accounts/guards/slots.py``). Returns how many spans."""
    return slots.sum_up(now_ms())


@shared_task
def erase(key: int) -> str:
    """A step of an erasure. Returns its state, "" when there was nothing to do."""
    state = erasure.step(key)
    if state and erasure.is_due(key):
        tasks.enqueue(erase, key)
    return state


def erase_soon(key: int) -> None:
    """A step of an erasure, or the search that it waits for, from anywhere: does not wait for the broker. Should it get lost,
    :func:`erase_due` follows."""
    tasks.enqueue_soon(erase, key)
    tasks.enqueue_soon(verify_erased)


@shared_task
def verify_erased() -> int:
    """Search every store for what is left of accounts that are gone from each. Returns of how many."""
    return verification.verify()


@shared_task
def erase_due() -> int:
    """Enqueue the steps of erasures that are due: a task got lost or was killed, a server was away, or their time has come.
    Returns how many."""
    now = now_ms()
    erasure.begin_missing(now)
    found = erasure.due(now)
    for key in found:
        tasks.enqueue(erase, key)
    if verification.is_due(now):
        tasks.enqueue(verify_erased)
    erasure.tell_overdue(now)
    return len(found)


@shared_task
def drop_photos() -> int:
    """Photos that no account shows: left behind by a crash, or by a storage that was away. Returns how many are gone."""
    dropped = drop_unused(Photo)
    purged("unused_photos", dropped)
    return dropped


@shared_task
def judge_abuse() -> int:
    """Sanction accounts whose numbers pass a threshold. Returns how many."""
    return abuse.judge()


@shared_task
def end_sanctions() -> int:
    """What sanctions did whose time is over is taken back; what has still to go to other numbers goes there. Returns of how many
    accounts something was taken back."""
    late.follow_due(now=now_ms())
    return sanctions.end_due(now=now_ms())


@shared_task
def follow_sanctions() -> int:
    """Sanctions go to numbers that their accounts have left. Returns how many. What a run does not finish, or a broker forgets,
    :func:`end_sanctions` brings back."""
    return late.follow_due(now=now_ms())


def follow_sanctions_soon() -> None:
    """:func:`follow_sanctions` from anywhere: does not wait for the broker."""
    tasks.enqueue_soon(follow_sanctions)


@shared_task
def build_export(export_id: str) -> bool:
    """Make the file of an export. Whether it is ready."""
    return exports.build(uuid.UUID(export_id))


def build_export_soon(export_id: uuid.UUID) -> None:
    """:func:`build_export` from anywhere: does not wait for the broker. Should it get lost, :func:`exports_waiting` follows."""
    tasks.enqueue_soon(build_export, str(export_id))


@shared_task
def exports_waiting() -> int:
    """Enqueue exports that nobody works on, and delete the files of those whose time is over. Returns how many were enqueued."""
    found = exports.waiting(now_ms())
    for export_id in found:
        tasks.enqueue(build_export, str(export_id))
    try:
        purged("exports", exports.expire(now_ms()))
    except ArchivesUnavailable:
        log.warning("files of exports stay for a while")
    return len(found)


@shared_task
def build_lawful(request_id: str) -> bool:
    """Make the file of a request of an authority. Whether it is ready."""
    return lawful.build(uuid.UUID(request_id))


def build_lawful_soon(request_id: uuid.UUID) -> None:
    """:func:`build_lawful` from anywhere. Should it get lost, :func:`lawful_waiting` follows."""
    tasks.enqueue_soon(build_lawful, str(request_id))


@shared_task
def lawful_waiting() -> int:
    """Enqueue requests of authorities that nobody works on, and delete files whose time is over. Returns how many were
    enqueued."""
    found = lawful.building(now_ms())
    for request_id in found:
        tasks.enqueue(build_lawful, str(request_id))
    try:
        lawful.expire(now_ms())
    except ArchivesUnavailable:
        log.warning("files of authorities stay for a while")
    return len(found)


@shared_task
def unlink_idle() -> int:
    """Tell users of devices that nobody uses, and unlink those of which they were told. Returns how many were unlinked."""
    now = now_ms()
    unlinked = idle.unlink_idle(now=now)
    idle.tell_idle(now=now)
    return unlinked
