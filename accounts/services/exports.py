"""Archives of everything that is held about a person, for that person.

An export is a row; a worker makes its file and says so. What a killed worker has left is begun anew when its lease is over,
and a task that got lost is found by :func:`waiting`. The file is written as it is made, a part at a time, and is seen by nobody
before it is whole.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.db.models import F, Q, QuerySet

from accounts import events, exported_log, stores
from accounts.archive_files import Leased, Lost, named, zip_into
from accounts.archives import ArchivesUnavailable, archives
from accounts.errors import Refused
from accounts.locks import ended
from accounts.models import Account, Export
from accounts.services.persons import person_of
from accounts.stores import Part, Person
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.retention import DAY_MS
from whatsapp.wire.errors import Code

#: How long a row tells that there was one.
ROW_KEPT_MS: Final = 30 * DAY_MS
LEASE_MS: Final = 120_000
#: The storage was away: again in so many ms.
AGAIN_MS: Final = 60_000
#: So many workers may die of one: then it expires without a file.
_ATTEMPTS: Final = 10
SCHEMA: Final = 1

_README: Final = """This archive has what the service holds about you.

manifest.json lists every other file with its size and SHA-256. Files that end in .jsonl have one JSON object a line, in UTF-8;
times are milliseconds since 1970 (UTC), bytes are in base64. What was written to you or by you is as the server has it: what is
encrypted end to end can be read on your devices alone. media/files has what you have uploaded, named by its mediaId in
media/uploads.jsonl; very large amounts are only listed there.
"""


def ask(*, account: Account, now: int) -> Export:
    """The export of this day: a new one, or the one that was asked for before. The task follows the commit. Raises
    :class:`Refused` (``not_found``): the account has ended meanwhile."""
    with transaction.atomic():
        if not Account.objects.select_for_update(no_key=True).filter(pk=account.pk, retired_at=None).exists():
            raise ended()
        newest = Export.objects.filter(account=account).order_by("-asked_at").first()
        if newest is not None and newest.state == Export.State.WAITING and newest.expires_at <= now:
            newest.state = Export.State.EXPIRED  # of those that wait there is one
            newest.save(update_fields=["state"])
        if newest is not None and (
            newest.state == Export.State.WAITING
            or (newest.state == Export.State.READY and newest.asked_at > now - LIMITS.export_every_ms)
        ):
            return newest
        return Export.objects.create(account=account, asked_at=now, expires_at=now + LIMITS.export_kept_ms)


def of(*, account: Account, export_id: uuid.UUID) -> Export:
    """Raises :class:`Refused` (``not_found``), also for somebody else's."""
    found = Export.objects.filter(account=account, pk=export_id).first()
    if found is None:
        raise Refused(Code.NOT_FOUND, "There is no such export.")
    return found


def url(export: Export, now: int) -> str | None:
    """Where its file is for some minutes; None: there is none."""
    if export.state != Export.State.READY or export.expires_at <= now:
        return None
    return archives().url(export.pk.hex, now)


def waiting(now: int, limit: int = 100) -> list[uuid.UUID]:
    """Exports that nobody works on: their task or their worker got lost, or the storage was away."""
    due = Export.objects.filter(state=Export.State.WAITING, leased_until__lte=now, expires_at__gt=now)
    due.filter(attempts__gte=_ATTEMPTS).update(state=Export.State.EXPIRED)
    return list(due.order_by("leased_until").values_list("pk", flat=True)[:limit])


def build(export_id: uuid.UUID) -> bool:
    """Make the file. False: there was nothing to do, or somebody else does it, or the storage is away: then it is tried again."""
    export = _take(export_id)
    if export is None:
        return False
    account = Account.objects.filter(pk=export.account_id, retired_at=None).first()
    if account is None:
        return False
    try:
        with archives().writing(export.pk.hex) as sink:
            out = Leased(sink, partial(_renew, export), LEASE_MS // 4)
            _write(out, person_of(account), export)
    except ArchivesUnavailable:
        # Nobody's fault but the storage's: it does not count.
        _mine(export).update(worker=None, leased_until=now_ms() + AGAIN_MS, attempts=F("attempts") - 1)
        return False
    except Lost:
        return False
    faults.point("export-written")
    now = now_ms()
    ready = (
        _mine(export)
        .filter(expires_at__gt=now)
        .update(state=Export.State.READY, ready_at=now, size=out.size, worker=None, leased_until=0)
    )
    if ready:
        events.notice(
            user_id=str(account.pk),
            kind="export",
            data={"exportId": str(export.pk), "size": out.size, "expiresAt": export.expires_at},
        )
    elif not _may_be_had(export.pk, now).exists():
        # The account ended, or its time was over meanwhile. What another worker makes has the same name, and stays.
        archives().delete(export.pk.hex)
    return bool(ready)


def end(*, account: Account, now: int) -> None:
    """The account ends: nobody gets what was made for it, and nothing more is made. Called in that transaction; the files go
    with the next :func:`expire`."""
    found = Export.objects.exclude(state=Export.State.EXPIRED).filter(account=account, expires_at__gt=now)
    found.update(expires_at=now)


def expire(now: int, limit: int = 500) -> int:
    """Delete files whose time is over, rows a while later, and files that no row knows. Returns how many files."""
    due = Export.objects.filter(~Q(state=Export.State.EXPIRED), expires_at__lte=now)
    gone = 0
    for export in list(due.order_by("expires_at")[:limit]):
        archives().delete(export.pk.hex)
        gone += Export.objects.filter(pk=export.pk).update(
            state=Export.State.EXPIRED, worker=None, leased_until=0
        )
    Export.objects.filter(state=Export.State.EXPIRED, expires_at__lte=now - ROW_KEPT_MS).delete()
    # What authorities get lies there, too (``lawful.py``).
    kept = max(LIMITS.export_kept_ms, LIMITS.lawful_kept_ms)
    return gone + archives().sweep(now - kept - DAY_MS)


def forget(user_id: uuid.UUID) -> None:
    """Delete the files and rows of an account. Raises :class:`ArchivesUnavailable`."""
    for export in Export.objects.filter(account=user_id):
        archives().delete(export.pk.hex)
        export.delete()


# -- the file


def _renew(export: Export, now: int) -> bool:
    mine = _mine(export).filter(expires_at__gt=now)
    return bool(mine.update(leased_until=now + LEASE_MS))


def _may_be_had(export_id: uuid.UUID, now: int) -> QuerySet[Export]:
    return Export.objects.exclude(state=Export.State.EXPIRED).filter(pk=export_id, expires_at__gt=now)


def _mine(export: Export) -> Any:
    return Export.objects.filter(pk=export.pk, worker=export.worker, state=Export.State.WAITING)


def _take(export_id: uuid.UUID) -> Export | None:
    now, me = now_ms(), uuid.uuid4()
    free = Export.objects.filter(
        pk=export_id,
        state=Export.State.WAITING,
        leased_until__lte=now,
        expires_at__gt=now,
        attempts__lt=_ATTEMPTS,
    )
    if not free.update(worker=me, leased_until=now + LEASE_MS, attempts=F("attempts") + 1):
        return None
    return Export.objects.get(pk=export_id)


def _parts(person: Person) -> Iterator[Part]:
    for store in stores.all_stores():
        yield from store.export(person)
    yield from exported_log.parts(person)


def _write(out: Leased, person: Person, export: Export) -> None:
    listed = []
    with zip_into(out) as archive:
        archive.writestr("README.txt", _README)
        for part in _parts(person):
            digest, size = hashlib.sha256(), 0
            # Files are compressed already.
            compression = zipfile.ZIP_DEFLATED if part.path.endswith(".jsonl") else zipfile.ZIP_STORED
            with archive.open(named(part.path, compression), "w", force_zip64=True) as file:
                for piece in part.data:
                    digest.update(piece)
                    size += file.write(piece)
            faults.point("export-part")
            listed.append({"path": part.path, "size": size, "sha256": digest.hexdigest()})
        manifest = {
            "schema": SCHEMA,
            "userId": person.user_id,
            "exportId": str(export.pk),
            "askedAt": export.asked_at,
            "madeAt": now_ms(),
            "parts": listed,
        }
        archive.writestr("manifest.json", json.dumps(manifest, indent=1))
