"""Installations: the ``deviceId`` that a client chooses once, at its first start, and keeps over sign-outs and new numbers.

It is a claim that nobody proves, so it only ever restricts: registrations are counted by it, it can be banned, and no right
follows from naming one. Stored as keyed hashes.
"""

from __future__ import annotations

from accounts.errors import banned
from accounts.limits import subject_hash
from accounts.locks import lock_hash
from accounts.models import InstallationBan


def installation_hash(device_id: str | None) -> bytes | None:
    """What is stored of an installation id; ids that differ in case or surrounding spaces are one."""
    text = (device_id or "").strip().lower()
    return subject_hash("installation", text) if text else None


def lock(installation: bytes | None) -> None:
    """Until the end of the transaction no ban of this installation comes between what is read and what is written."""
    if installation is not None:
        lock_hash(installation)


def check_not_banned(*, installation: bytes | None, now: int) -> None:
    """Raises :class:`accounts.errors.Refused` (``banned``)."""
    if installation is None:
        return
    ban = InstallationBan.objects.filter(installation=installation, until__gt=now).first()
    if ban is not None:
        raise banned(ban.until)
