"""What people reported, sealed: the copies of messages, and the words that a reporter adds.

AES-256-GCM under a key derived from ``SECRET_KEY``, bound to the report and the place in it, so that who can read the database,
or exchange rows of it, has nothing. ``SECRET_KEY_FALLBACKS`` still open what an earlier key sealed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import uuid
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from accounts.models import Report, ReportedMessage

_NONCE: Final = 12
#: The place of a reporter's own words.
_NOTE: Final = "note"


def seal_content(content: bytes, report_id: uuid.UUID, position: int) -> bytes:
    """What ``ReportedMessage.content`` keeps of one message."""
    return _seal(content, report_id, str(position))


def content_of(message: ReportedMessage) -> bytes | None:
    """What the reporter's copy says. None: its time was over and it was deleted, or no known ``SECRET_KEY`` opens it."""
    return _unseal(bytes(message.content), message.report_id, str(message.position))


def seal_note(note: str, report_id: uuid.UUID) -> str:
    """What ``Report.note`` keeps; '' of ''."""
    return base64.b64encode(_seal(note.encode(), report_id, _NOTE)).decode() if note else ""


def note_of(report: Report) -> str:
    """The reporter's own words; '' when there were none, when they were deleted, or when no known key opens them."""
    try:
        found = _unseal(base64.b64decode(report.note, validate=True), report.pk, _NOTE)
    except binascii.Error:
        return ""
    return found.decode() if found is not None else ""


def _keys() -> list[bytes]:
    known = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [hmac.digest(key.encode(), b"reports.evidence", hashlib.sha256) for key in known]


def _bound(report_id: uuid.UUID, place: str) -> bytes:
    return f"{report_id}/{place}".encode()


def _seal(plain: bytes, report_id: uuid.UUID, place: str) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(_keys()[0]).encrypt(nonce, plain, _bound(report_id, place))


def _unseal(sealed: bytes, report_id: uuid.UUID, place: str) -> bytes | None:
    for key in _keys():
        try:
            return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(report_id, place))
        except (InvalidTag, ValueError):
            continue
    return None
