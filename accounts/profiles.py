"""What everybody who may see it sees of an account, kept for an hour in the cache.

Whoever changes an account says so when it is committed. Then its entry is a mark for a while, and nobody stores anything: so
who read the row before the change, and is slow, does not bring the old profile back. Without the cache everything is read
from the database; a change that the cache did not hear of is seen after an hour at the latest.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection
from typing import Final, NamedTuple

from django.core.cache import cache
from django.db import transaction

from accounts import events
from accounts.errors import Refused
from accounts.models import Account, Audience, Privacy
from whatsapp.infra import metrics
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

KEPT_S: Final = 3600
#: No reader takes so long from its row to the cache.
_CHANGED_S: Final = 30
_CHANGED: Final = "changed"
#: How long a cache that did not answer is not asked again, by this process.
_AWAY_S: Final = 5.0
_away_until = 0.0


class Profile(NamedTuple):
    name: str
    about: str  # shown to whom the account's privacy names
    photo: str | None  # version of the photo; likewise


def profile_of(*, user_id: uuid.UUID) -> Profile:
    """Raises :class:`Refused` (``not_found``), also for an account that has ended."""
    key = _key(str(user_id))
    kept = _ask("get", key)
    if isinstance(kept, list) and len(kept) == 3:
        metrics.count("profiles", "kept")
        return Profile(*kept)
    row = (
        Account.objects.filter(pk=user_id, retired_at=None)
        .values_list("name", "about", "photo__digest")
        .first()
    )
    if row is None:
        raise Refused(Code.NOT_FOUND, "There is no such user.")
    metrics.count("profiles", "read")
    if kept is None:
        _ask("add", key, list(row), KEPT_S)
    return Profile(*row)


def changed(*, user_id: str, device_id: str = "", what: Collection[str] = ("name",)) -> None:
    """The account's profile (``what`` of it: name, about, photo) changes with the caller's transaction: the cache forgets it, and
    who follows the account, or is on another device of it than ``device_id``, is told; devices alone of what nobody is shown."""

    transaction.on_commit(lambda: _ask("set", _key(user_id), _CHANGED, _CHANGED_S))
    if "name" in what or not _hidden(user_id, what):
        events.profile_changed(user_id=user_id)
    events.notice(user_id=user_id, kind="profile_changed", data={"userId": user_id}, but=device_id)


def _hidden(user_id: str, what: Collection[str]) -> bool:
    audiences = Privacy.objects.filter(account=user_id).values_list(*what).first()
    return audiences is not None and set(audiences) == {Audience.NOBODY}


def _key(user_id: str) -> str:
    return f"profile:{user_id}"


def _ask(what: str, *arguments: object) -> object:
    """None when the cache does not answer."""
    global _away_until
    if time.monotonic() < _away_until:
        return None
    try:
        return getattr(cache, what)(*arguments)
    except Exception as error:  # each backend has its own
        _away_until = time.monotonic() + _AWAY_S
        log.warning("the cache does not answer: %s", type(error).__name__)
        metrics.count("profiles", "away")
        return None
