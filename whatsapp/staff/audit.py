"""What staff did: in Django's own log of the admin (``LogEntry``), which shows the history of each object, and in a chain that
nobody can edit without being found out (``AuditRecord``, :mod:`whatsapp.staff.chain`).

Both are written in the transaction of what they tell of. The place in the chain is given by the database when that transaction
commits: only there does one writer wait for another, with every lock of its own already held, so services may lock what they
like in any order.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable
from typing import Final

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat

from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Approval, AuditRecord

#: An identifier that is shorter would be found in the midst of other words.
_SHORTEST: Final = 8
_FLAGS: Final = {1: "added", 2: "changed", 3: "deleted"}
SALT: Final = 16
REDACTED: Final = "audit.redacted"
#: Redacted by one record, which names them all in its message.
_AT_ONCE: Final = 100


def record(*, by: User, on: Model, message: str, flag: int = CHANGE, action: str = "") -> None:
    """Append one entry to both. ``action``: what was done, as a code (``approval.asked``). ``message`` must hold no personal data
    of people who chat; the object is named by its id. Call it in the transaction of the deed."""
    with transaction.atomic():
        LogEntry.objects.create(
            user_id=by.pk,
            content_type=ContentType.objects.get_for_model(on),
            object_id=str(on.pk),
            object_repr=str(on)[:200],
            action_flag=flag,
            change_message=message[:2000],
        )
        append(by=by, on=on, message=message, action=action or _FLAGS[flag])


def append(*, by: User | None, on: Model, message: str, action: str) -> None:
    """To the chain alone: where Django has written its own entry, or nobody of the staff did it (``by`` None: automatic)."""
    kind = on._meta.label_lower
    made = AuditRecord(
        at=now_ms(), by=by.get_username() if by else "automatic", by_id=by.pk if by else None, action=action[:64],
        object_type=kind[:100], object_id=str(on.pk)[:200], message=message[:2000], salt=os.urandom(SALT),
    )  # fmt: skip
    made.details = details_of(bytes(made.salt), made.object_id, made.message)
    made.mac = mac_of(made)
    made.save(force_insert=True)


def has_done(by: User, on: Model, action: str, *, since: Model) -> bool:
    """Whether one of the staff did this, since the first record of something else: in the order of the records, whatever clocks
    say."""
    first = _of(since).order_by("pk").values_list("pk", flat=True).first() or 0
    return _of(on).filter(by_id=by.pk, action=action, pk__gt=first).exists()


def _of(on: Model) -> QuerySet[AuditRecord]:
    return AuditRecord.objects.filter(object_id=str(on.pk), object_type=on._meta.label_lower)


def details_of(salt: bytes, object_id: str, message: str) -> bytes:
    """What stands for the object and the message in the chain. Salted: who has it cannot try ids."""
    return hashlib.sha256(salt + json.dumps([object_id, message]).encode()).digest()


def mac_keys() -> list[bytes]:
    """The present key first, then those that earlier records were made with."""
    known = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hmac.digest(key.encode(), b"staff.audit", "sha256") for key in known]


def mac_of(row: AuditRecord, key: bytes | None = None) -> bytes:
    """HMAC-SHA256 over a record's content, as JSON, in the order of the columns."""
    said = [row.at, row.by, row.by_id, row.action, row.object_type, bytes(row.details).hex()]
    return hmac.digest(key or mac_keys()[0], json.dumps(said).encode(), "sha256")


def forget(identifiers: Iterable[str]) -> int:
    """Forget objects and messages that name one of these ids, in the chain, in Django's log and in approvals: the person was
    erased. That staff did something, who of them, what and when, stays; so do approvals that wait still. Returns how many rows
    were changed; call it until it is 0. What was forgotten is itself a record, so a record that was emptied by somebody else is
    found."""
    names = [name for name in identifiers if len(name) >= _SHORTEST]
    if not names:
        return 0
    named = Q(object_id__in=names)
    for name in names:
        named |= Q(message__icontains=name)
    with transaction.atomic():
        found = list(
            AuditRecord.objects.select_for_update()
            .filter(named, seq__isnull=False)
            .exclude(salt=b"")
            .exclude(action=REDACTED)
            .order_by("seq")[:_AT_ONCE]
        )
        AuditRecord.objects.filter(pk__in=[row.pk for row in found]).update(
            salt=b"", object_id="", message=""
        )
        if found:
            message = json.dumps([row.seq for row in found])
            append(by=None, on=found[-1], message=message, action=REDACTED)
        entries = Q(object_id__in=names)
        asked = Q(subject__in=names)
        for name in names:
            entries |= Q(object_repr__icontains=name) | Q(change_message__icontains=name)
            asked |= Q(text__icontains=name)
        logged = LogEntry.objects.filter(entries).update(
            object_id="", object_repr="erased", change_message=""
        )
        # What staff wrote as their reason goes as well: it stands beside the id.
        text = Concat(
            Cast("payload", TextField()),
            Value(" "),
            "reason",
            Value(" "),
            "decision",
            output_field=TextField(),
        )
        waited = (
            Approval.objects.annotate(text=text)
            .filter(asked)
            .exclude(state=Approval.State.WAITING)
            .update(subject="", payload={}, reason="", decision="")
        )
    return len(found) + logged + waited
