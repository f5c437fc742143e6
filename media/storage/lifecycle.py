"""How long media live: one table, for the bucket's own rules and for our sweep, which does the same where the server does not
(a local folder, and most S3 servers but Amazon's).

A message that is forwarded refers to the stored object again, however old that is; the bucket's rules know nothing of messages.
So before an object goes, ``delete_after_ms`` after it was written, the sweep copies what is still needed onto itself: then it is
young again (:func:`needs_renewal`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

from media.storage import names
from media.storage.interface import Entry, NotStored, Storage, StorageUnavailable

log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
#: Keys that one request deletes.
_AT_ONCE = 500
#: Ours among the rules of a bucket.
RULES = "whatsapp-"


@dataclass(frozen=True, slots=True)
class Policy:
    """Milliseconds since an object was written, or an upload begun."""

    cold_after_ms: int = 90 * _DAY_MS  # cheaper to keep, dearer to read, at once as ever
    delete_after_ms: int = 365 * _DAY_MS
    incoming_after_ms: int = 24 * _HOUR_MS  # what became of no message, and waits for nothing
    #: The same by the bucket, which does not know what still waits, for the scanner perhaps: the last resort.
    incoming_most_ms: int = 7 * _DAY_MS
    uploads_after_ms: int = 24 * _HOUR_MS  # parts of what was neither completed nor aborted
    cold_class: str = "GLACIER_IR"  # read within milliseconds; others have to be ordered hours before


POLICY = Policy()


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep took away."""

    uploads: int = 0
    incoming: int = 0
    media: int = 0
    renewed: int = 0  # not taken away: written again


def check(policy: Policy, retention_ms: int) -> list[str]:
    """What is wrong with a policy where messages live for ``retention_ms``: sentences, none if it is good."""
    found = []
    if policy.delete_after_ms < retention_ms:
        found.append(
            "Media are deleted before the messages that show them: delete_after_ms is below retention_ms."
        )
    if policy.cold_after_ms >= policy.delete_after_ms:
        found.append("Media are deleted before they are cold: cold_after_ms is not below delete_after_ms.")
    if policy.incoming_most_ms < policy.incoming_after_ms:
        found.append(
            "The bucket deletes what comes in before the sweep does: incoming_most_ms is below incoming_after_ms."
        )
    if policy.uploads_after_ms > policy.incoming_most_ms:
        found.append("Uploads live longer than what they become: uploads_after_ms is above incoming_most_ms.")
    return found


def needs_renewal(modified_ms: int, now_ms: int, retention_ms: int, policy: Policy = POLICY) -> bool:
    """Whether an object written at ``modified_ms`` would go before a message of now does: then copy it onto itself."""
    return modified_ms < _renewed_before(now_ms, retention_ms, policy)


def _renewed_before(now_ms: int, retention_ms: int, policy: Policy) -> int:
    return now_ms + retention_ms + _DAY_MS - policy.delete_after_ms


def document(location: str = "", policy: Policy = POLICY) -> dict[str, Any]:
    """The bucket's lifecycle configuration, as ``PutBucketLifecycleConfiguration`` takes it. ``location``: what all keys of the
    bucket begin with (``S3_PREFIX`` and a slash). S3 counts whole days, up to the next midnight.

    In a bucket with versions what was deleted or replaced goes a day later: it is not kept by its versions.
    """
    forgotten = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    return {
        "Rules": [
            {
                "ID": f"{RULES}media",
                "Status": "Enabled",
                "Filter": {"Prefix": location + names.MEDIA},
                "Transitions": [{"Days": _days(policy.cold_after_ms), "StorageClass": policy.cold_class}],
                "Expiration": {"Days": _days(policy.delete_after_ms)},
                **forgotten,
            },
            {
                "ID": f"{RULES}incoming",
                "Status": "Enabled",
                "Filter": {"Prefix": location + names.INCOMING},
                "Expiration": {"Days": _days(policy.incoming_most_ms)},
                **forgotten,
            },
            {
                "ID": f"{RULES}uploads",
                "Status": "Enabled",
                "Filter": {"Prefix": location},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _days(policy.uploads_after_ms)},
            },
        ]
    }


def sweep(
    storage: Storage,
    now_ms: int,
    *,
    waits: Callable[[str], bool] = lambda key: False,
    referred: Callable[[str], bool] = lambda key: False,
    locked: Callable[[str], AbstractContextManager[None]] = lambda key: nullcontext(),
    retention_ms: int = 0,
    policy: Policy = POLICY,
) -> Swept:
    """Abort forgotten uploads, delete what came in and became nothing, and media that are too old. Any number of sweeps may run
    at once, and one that ends early is continued by the next. ``waits(key)``: the object of this key under ``incoming/`` is
    still needed; ``referred(key)``: the same under ``media/``, where it is written again in time for a message that is kept for
    ``retention_ms``; ``locked(key)``: nobody takes that object away meanwhile, or it would be there again without an owner.
    Raises :class:`StorageUnavailable`."""
    uploads = 0
    for upload in storage.open_uploads(now_ms - policy.uploads_after_ms):
        try:
            storage.abort(upload.key, upload.token)
        except StorageUnavailable as error:
            log.warning("an upload of the storage stays for now: %s", type(error).__name__)
        else:
            uploads += 1
    storage.tidy(now_ms - policy.uploads_after_ms)
    old = now_ms - policy.incoming_after_ms
    incoming = _delete(
        storage,
        (e.key for e in storage.keys(names.INCOMING) if e.modified_ms < old and not waits(e.key)),
    )
    old, renewed = now_ms - policy.delete_after_ms, 0

    def unneeded() -> Iterator[str]:
        nonlocal renewed
        for entry in _aged(storage, _renewed_before(now_ms, retention_ms, policy)):
            with locked(entry.key):
                needed = referred(entry.key)
                if needed:
                    renewed += _renew(storage, entry.key)
            if not needed and entry.modified_ms < old:
                yield entry.key

    aged = _delete(storage, unneeded())
    return Swept(uploads, incoming, aged, renewed)


def _renew(storage: Storage, key: str) -> bool:
    try:
        storage.copy(key, key)
    except NotStored:
        return False  # its last owner took it away in between
    return True


def _aged(storage: Storage, before_ms: int) -> Iterator[Entry]:
    """Keys begin with the day on which they were made, and none was written before it was made: later days need no look."""
    end = names.day(before_ms + _DAY_MS)
    for entry in storage.keys(names.MEDIA):
        if entry.key >= end:
            return
        if entry.modified_ms < before_ms:
            yield entry


def _delete(storage: Storage, keys: Iterator[str]) -> int:
    count = 0
    while batch := list(islice(keys, _AT_ONCE)):
        storage.delete(batch)
        count += len(batch)
    return count


def _days(ms: int) -> int:
    return -(-ms // _DAY_MS)
