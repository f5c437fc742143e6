"""What an authority gets: who registered when, on which devices, and who wrote to whom when. Never what was written, what anybody
calls anything, tokens, keys or addresses of push services.

Each row is made of named fields, so what a table or the log comes to hold besides is not in it. Read through the interface of
the log's store: the same on PostgreSQL and Cassandra.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from accounts.archive_files import Leased, named, zip_into
from accounts.export_rows import lines, table
from accounts.models import Account, Device, Erasure, LawfulRequest, RefreshToken
from accounts.services import persons
from accounts.stores import Part
from delivery.store.sync import store
from delivery.store.values import PageRequest
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

SCHEMA: Final = 1
_AT_ONCE: Final = 100
_EVENTS: Final = 200
_README: Final = """Metadata, as manifest.json says for whom and for what time. users/<id>/ has one JSON object a line, in UTF-8;
times are milliseconds since 1970 (UTC).

registration.jsonl   the number, and when the account was made and ended
devices.jsonl        when each device was linked, last seen and unlinked
sessions.jsonl       when sessions were renewed, within the time asked for
conversations.jsonl  conversations with traffic within that time, with whom and how much
messages.jsonl       who wrote when in them. What was written is not in here. Messages are kept for a month at most
"""


def write(out: Leased, request: LawfulRequest) -> None:
    """A ZIP. When there is more than ``LIMITS.lawful_events`` the manifest says that it was cut."""
    left = [LIMITS.lawful_events]
    with zip_into(out) as archive:
        archive.writestr(named("README.txt"), _README)
        for user in request.users:
            for part in _parts(user, request.since, request.until, left):
                with archive.open(named(part.path), "w", force_zip64=True) as file:
                    for piece in part.data:
                        file.write(piece)
        manifest = {
            "schema": SCHEMA,
            "requestId": str(request.pk),
            "reference": request.reference,
            "users": request.users,
            "since": request.since,
            "until": request.until,
            "madeAt": now_ms(),
            "cut": left[0] <= 0,
        }
        archive.writestr(named("manifest.json"), json.dumps(manifest, indent=1))


def _parts(user: str, since: int, until: int, left: list[int]) -> Iterator[Part]:
    account = Account.objects.filter(pk=user).first()
    folder = f"users/{user}"
    if account is None:
        yield lines(f"{folder}/registration.jsonl", [{"userId": user, "erased": True}])
        return
    yield lines(
        f"{folder}/registration.jsonl",
        [
            {
                "userId": user,
                "phoneNumber": _number(account),
                "createdAt": account.created_at,
                "endedAt": account.retired_at,
                "bannedUntil": account.banned_until,
            }
        ],
    )
    yield table(
        f"{folder}/devices.jsonl", Device.objects.filter(user=user).order_by("pk"),
        deviceId="pk", linkedAt="linked_at", lastSeenAt="last_seen_at", unlinkedAt="unlinked_at",
    )  # fmt: skip
    sessions = RefreshToken.objects.filter(device__user=user, created_at__gte=since, created_at__lt=until)
    yield table(
        f"{folder}/sessions.jsonl", sessions.order_by("pk"), deviceId="device_id", renewedAt="created_at"
    )
    conversations: list[dict[str, Any]] = []
    yield lines(f"{folder}/messages.jsonl", _messages(user, since, until, left, conversations))
    yield lines(f"{folder}/conversations.jsonl", conversations)


def _number(account: Account) -> str | None:
    """Of an account that ended and is held: what its erasure has noted."""
    if account.phone or account.retired_at is None:
        return account.phone
    noted = Erasure.objects.filter(user=account.pk).values_list("identifiers", flat=True).first()
    return persons.unseal(bytes(noted), str(account.pk)).phone or None if noted else None


def _messages(
    user: str, since: int, until: int, left: list[int], conversations: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Who wrote when in conversations of the user; notes each that has something of the time in ``conversations``."""
    after_id = ""
    while found := store.listed(user, _AT_ONCE, after_id):
        for one in found:
            told: dict[str, Any] = {}
            for event in _events(one.conversation, user, since, until, left):
                yield event
                told["first"] = min(event["at"], told.get("first", event["at"]))
                told["last"] = max(event["at"], told.get("last", 0))
                told.setdefault("written", {}).setdefault(event["from"], 0)
                told["written"][event["from"]] += 1
            if told:
                conversations.append(
                    {
                        "conversationId": one.conversation,
                        "kind": one.kind,
                        "with": sorted({*one.peers, *told["written"]} - {user}),
                        "first": told["first"],
                        "last": told["last"],
                        "written": told["written"],
                    }
                )
        after_id = found[-1].conversation


def _events(
    conversation: str, user: str, since: int, until: int, left: list[int]
) -> Iterator[dict[str, Any]]:
    after = 0
    while left[0] > 0:
        (page,) = store.pages([PageRequest(conversation, user, after, _EVENTS)])
        for event in page.events:
            if since <= event.at < until and event.sender and left[0] > 0:
                left[0] -= 1
                yield {"conversationId": conversation, "from": event.sender, "at": event.at}
        if page.through >= page.head or page.through <= after:
            return
        after = page.through
