"""Is the audit log whole? Walks the chain, compares it with the anchors of its head, and makes new ones.

What finds what. A row whose content was changed: its MAC, whose key is not in the database. A row that was taken out, put in
or moved: the chain, unless whoever did it computed all later hashes anew, which needs no key; then the anchors, whose MAC needs
it. A tail that was cut: the newest anchor. Anchors can be deleted with it, but not from the log (a line each) and from
``AUDIT_ANCHORS`` (a file of lines, on storage that takes nothing back), which ``manage.py audit_verify --anchors`` reads. Who
has the key as well can write another history since the last anchor out of reach, and no older one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import transaction

from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.models import AuditAnchor, AuditCheck, AuditRecord

log = logging.getLogger(__name__)

ZERO: Final = bytes(32)
_BATCH: Final = 1_000
#: Records that the frequent check looks at, at least, and checks that are kept.
NEWEST: Final = 5_000
KEEP: Final = 500
#: Of a line of the file.
_BEGIN: Final = '{"kind":'
YEAR_MS: Final = 365 * 86_400_000


@dataclass
class Result:
    """``first``, ``last``: seq of what was looked at. ``finding``: of the first row that is not as it was written, or empty."""

    first: int
    last: int = 0
    finding: str = ""
    redacted: set[int] = field(default_factory=set)  # without a record that says so


@dataclass(frozen=True)
class Anchor:
    """A line of the file, or a row."""

    kind: str
    seq: int
    hash: bytes
    at: int
    mac: bytes

    def good(self) -> bool:
        return any(hmac.compare_digest(_mac(self, key), self.mac) for key in audit.mac_keys())

    def line(self) -> str:
        said = {"kind": self.kind, "seq": self.seq, "hash": self.hash.hex(), "at": self.at}
        return json.dumps({**said, "mac": self.mac.hex()})


def _mac(anchor: Anchor, key: bytes) -> bytes:
    said = ["anchor", anchor.kind, anchor.seq, anchor.hash.hex(), anchor.at]
    return hmac.digest(key, json.dumps(said).encode(), "sha256")


def verify(*, whole: bool = True, anchors: Iterable[Anchor] = ()) -> Result:
    """Walk the chain from its beginning, or its newest part from an anchor on, in batches; stop at the first broken row.

    ``anchors``: more of them, from the file."""
    known = [*_rows(), *anchors]
    at: dict[int, set[bytes]] = {}
    for anchor in known:
        at.setdefault(anchor.seq, set()).add(anchor.hash)
    begin, previous = _beginning(whole, known)
    result = Result(first=begin + 1, last=begin)
    for anchor in known:
        if not anchor.good():
            result.finding = f"the anchor at {anchor.seq} was not made with our key"
            return result
    for row in _records(begin):
        finding = _broken(row, result.last + 1, previous) or _off(at.get(row.seq or 0), row)
        if finding:
            result.finding = f"record {row.seq} (row {row.pk}): {finding}"
            return result
        _note_redaction(row, result)
        result.last, previous = row.seq or 0, bytes(row.hash or b"")
    newest = max(at, default=0)
    if newest > result.last:
        result.finding = f"ends at {result.last}, and had {newest} records: its tail was cut"
    elif result.redacted:
        result.finding = f"record {min(result.redacted)}: forgotten, and no record says so"
    elif AuditRecord.objects.filter(seq=None).exists():
        result.finding = "holds a row that never got its place: it was put in past the triggers"
    return result


def _beginning(whole: bool, known: list[Anchor]) -> tuple[int, bytes]:
    """Behind which record to begin, and its hash: the last checkpoint, or a later anchor when only the newest part is asked."""
    head = (
        AuditRecord.objects.filter(seq__isnull=False).order_by("-seq").values_list("seq", flat=True).first()
    )
    begin = Anchor("checkpoint", 0, ZERO, 0, b"")
    for anchor in known:
        old = not whole and anchor.seq <= (head or 0) - NEWEST
        if anchor.seq > begin.seq and (anchor.kind == "checkpoint" or old):
            begin = anchor
    return begin.seq, begin.hash


def _records(after: int) -> Iterator[AuditRecord]:
    while batch := list(AuditRecord.objects.filter(seq__gt=after).order_by("seq")[:_BATCH]):
        yield from batch
        after = batch[-1].seq or 0


def _broken(row: AuditRecord, expected: int, previous: bytes) -> str:
    mac = bytes(row.mac)
    if row.seq != expected:
        return f"{expected} is missing"
    if bytes(row.previous or b"") != previous:
        return "does not follow the one before"
    if bytes(row.hash or b"") != hashlib.sha256(previous + expected.to_bytes(8, "big") + mac).digest():
        return "its hash is not of its content"
    if not any(hmac.compare_digest(audit.mac_of(row, key), mac) for key in audit.mac_keys()):
        return "was changed, or made without our key"
    details = audit.details_of(bytes(row.salt), row.object_id, row.message)
    if row.salt and details != bytes(row.details):
        return "its object or message was changed"
    if not row.salt and (row.object_id or row.message):
        return "is marked as forgotten and says something"
    return ""


def _off(anchored: set[bytes] | None, row: AuditRecord) -> str:
    same = anchored is None or anchored == {bytes(row.hash or b"")}
    return "" if same else "is another one than when it was anchored"


def _note_redaction(row: AuditRecord, result: Result) -> None:
    if not row.salt:
        result.redacted.add(row.seq or 0)
    elif row.action == audit.REDACTED:
        result.redacted.difference_update(json.loads(row.message))


def check(*, whole: bool) -> AuditCheck:
    """Verify, write down what was found, and alarm: ``whatsapp_staff_audit_broken``, and an error in the log."""
    at, started = now_ms(), time.monotonic()
    result = verify(whole=whole)
    took = int((time.monotonic() - started) * 1000)
    made = AuditCheck.objects.create(
        at=at,
        duration_ms=took,
        first=result.first,
        last=result.last,
        whole=whole,
        finding=result.finding[:500],
    )
    AuditCheck.objects.filter(pk__lte=made.pk - KEEP).delete()
    metrics.AUDIT_CHECKS.add("broken" if result.finding else "whole")
    if result.finding:
        log.error("the audit log is not as it was written: %s", result.finding)
    return made


def anchor() -> Anchor | None:
    """Keep the present head, if it has moved: a row, a line of the log, and a line of the file. None: nothing is new."""
    with transaction.atomic():
        head = AuditRecord.objects.filter(seq__isnull=False).order_by("-seq").first()
        last = AuditAnchor.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
        if head is None or (head.seq or 0) <= last:
            return None
        made = _keep("head", head)
    _tell(made)
    return made


def checkpoint(*, before: int) -> int:
    """Forget records that are older than ``before`` (ms), by the policy of retention: verify everything, keep the checkpoint,
    then delete what is behind it. At least a year stays, which the database enforces too. Returns how many went.

    Raises ``ValueError``: less than a year, or the chain is not whole.
    """
    if before > now_ms() - YEAR_MS:
        raise ValueError("records of the last year are kept")
    result = verify()
    if result.finding:
        raise ValueError(f"the audit log is not as it was written: {result.finding}")
    # By seq, not by time alone: clocks of processes differ, and what is behind an older one stays with it.
    younger = AuditRecord.objects.filter(seq__isnull=False, at__gte=before).order_by("seq").first()
    last = AuditRecord.objects.filter(seq__isnull=False).order_by("-seq").first()
    bound = (younger.seq or 0) - 1 if younger else (last.seq or 0) if last else 0
    row = AuditRecord.objects.filter(seq=bound).first()
    if row is None:
        return 0
    with transaction.atomic():
        made = _keep("checkpoint", row)
        gone, _ = AuditRecord.objects.filter(seq__lte=bound).delete()
        audit.append(by=None, on=row, message=f"Checkpoint at {bound}.", action="audit.checkpoint")
    _tell(made)
    return gone


def _keep(kind: str, row: AuditRecord) -> Anchor:
    bare = Anchor(kind, row.seq or 0, bytes(row.hash or b""), now_ms(), b"")
    made = Anchor(kind, bare.seq, bare.hash, bare.at, _mac(bare, audit.mac_keys()[0]))
    AuditAnchor.objects.create(kind=kind, seq=made.seq, hash=made.hash, at=made.at, mac=made.mac)
    return made


def _tell(made: Anchor) -> None:
    log.info("audit anchor %s", made.line())
    if settings.AUDIT_ANCHORS:
        try:
            with Path(settings.AUDIT_ANCHORS).open("a") as file:
                # On a line of its own: whoever wrote last may have died, or found no room, in the midst of one.
                file.write("\n" + made.line() + "\n")
        except OSError as error:
            log.error("the file of audit anchors cannot be written: %s", type(error).__name__)


def _rows() -> Iterator[Anchor]:
    for row in AuditAnchor.objects.order_by("pk").iterator():
        yield Anchor(row.kind, row.seq, bytes(row.hash), row.at, bytes(row.mac))


def read_anchors(lines: Iterable[str]) -> list[Anchor]:
    """Of the file, or of log lines. One that was not written to its end is left out: the file takes nothing back, so it stays
    there. Raises ``ValueError`` for a line that is none."""
    found = []
    for line in filter(None, map(str.strip, lines)):
        if not line.endswith("}") and (line.startswith(_BEGIN) or _BEGIN.startswith(line)):
            log.warning("an anchor was not written to its end")
            continue
        try:
            said = json.loads(line[line.index("{") :])
            found.append(
                Anchor(
                    str(said["kind"]), int(said["seq"]), bytes.fromhex(said["hash"]), int(said["at"]),
                    bytes.fromhex(said["mac"]),
                )
            )  # fmt: skip
        except (KeyError, TypeError, ValueError):
            raise ValueError("a line that is no anchor") from None
    return found
