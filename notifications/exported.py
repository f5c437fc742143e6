"""Where a person's devices are reached, for that person: of a token only its end, for whoever has all of it may send to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounts.export_rows import lines
from accounts.stores import Part, Person
from notifications.models import PushTarget

_SHOWN = 6


def parts(person: Person) -> Iterator[Part]:
    yield lines("notifications/targets.jsonl", _targets(person.user_id))


def _targets(user: str) -> Iterator[dict[str, Any]]:
    for target in PushTarget.objects.filter(device__user=user).order_by("pk"):
        yield {
            "deviceId": target.pk,
            "app": target.app,
            "tokenEnd": target.token[-_SHOWN:],
            "preview": target.preview,
            "quietFrom": target.quiet_from,
            "quietUntil": target.quiet_until,
            "timeZone": target.time_zone,
            "setAt": target.set_at,
            "lastSuccessAt": target.success_at,
            "lastErrorAt": target.error_at,
        }
