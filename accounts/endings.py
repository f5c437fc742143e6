"""What else happens when an account, or the session of a device, ends. Apps above this one know what they keep of a user; they
register it in their ``AppConfig.ready``, for imports point down."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from django.db import transaction

log = logging.getLogger(__name__)

#: Called with a user id.
Follow = Callable[[str], None]
_follows: Final[list[Follow]] = []
#: Called with a device id.
_session_follows: Final[list[Follow]] = []


def register(follow: Follow) -> None:
    """``follow`` is called for each account that ends, right after that is committed. It must be quick, and may be lost in a
    crash: whoever registers looks for ended accounts now and then as well."""
    if follow not in _follows:
        _follows.append(follow)


def ended(user_id: str) -> None:
    """The account ends with the caller's transaction."""
    for follow in _follows:
        transaction.on_commit(lambda follow=follow: _run(follow, user_id))


def _run(follow: Follow, user_id: str) -> None:
    try:
        follow(user_id)
    except Exception:
        log.exception("something of an ended account stays for now")  # its request has succeeded


def register_session(follow: Follow) -> None:
    """``follow`` is called in the transaction that ends the session of a device, which is locked: it is unlinked, it is signed
    out, or its number was verified on it again."""
    if follow not in _session_follows:
        _session_follows.append(follow)


def session_ended(device_id: str) -> None:
    for follow in _session_follows:
        follow(device_id)
