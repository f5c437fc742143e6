"""A management step beside the servers: makes people and conversations by the product's own services.

``python -m bench.accounts`` in the environment of a system; standard input ``{"people": N, "direct": [[i, j], …], "groups":
[[i, …], …], "lanes": [N, …] or []}``, standard output ``{"people":
[{"user", "device", "token"}], "conversations": [id, …], "groups": [id, …]}``.
Registration by SMS code is what it leaves out; the rows, and the tokens that the gateways check, are what registration makes.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import django

from delivery.ids import conversation_id
from delivery.lanes import lane_of
from whatsapp.infra.clock import now_ms

_A_TRANSACTION = 200  # one fsync for so many


def group_in(lane: int | None) -> str:
    """A new id of a group, of this lane or of any."""
    while True:
        group = conversation_id(now_ms(), "group")
        if lane in (None, lane_of(group)):
            return group


def _make(count: int, direct: list[list[int]], groups: list[list[int]], lanes: list[int]) -> dict[str, Any]:
    # Django must be set up before its models can be read.
    from django.db import transaction

    from accounts.models import Account
    from accounts.services.devices import link_device
    from accounts.services.sessions import start_session
    from delivery.changes import change_group
    from delivery.ids import conversation_id
    from delivery.store.sync import store
    from delivery.store.values import Change

    accounts = []
    people = []
    first = Account.objects.count()
    for begin in range(0, count, _A_TRANSACTION):
        with transaction.atomic():
            for number in range(begin, min(begin + _A_TRANSACTION, count)):
                now = now_ms()
                account = Account.objects.create(phone=f"+1557{first + number:07}", created_at=now)
                device = link_device(account=account, name="bench", registration_id=None, now=now)
                tokens = start_session(device=device, now=now)
                accounts.append(account)
                people.append({"user": tokens.user_id, "device": tokens.device_id, "token": tokens.token})
    conversations = []
    for begin in range(0, len(direct), _A_TRANSACTION):
        with transaction.atomic():
            for a, b in direct[begin : begin + _A_TRANSACTION]:
                now = now_ms()
                both = str(accounts[a].pk), str(accounts[b].pk)  # who know each other
                conversations.append(store.ensure_direct(*both, conversation_id(now, "direct"), now))
    made = []
    for number, members in enumerate(groups):
        users = [str(accounts[member].pk) for member in members]
        group = group_in(lanes[number] if lanes else None)
        with transaction.atomic():
            store.create_group(group, now_ms())
            added = Change(str(uuid.uuid4()), "member_added", None, tuple(users))
            change_group(conversation=group, sender=users[0], changes=[added])
        made.append(group)
    return {"people": people, "conversations": conversations, "groups": made}


if __name__ == "__main__":
    django.setup()
    request = json.load(sys.stdin)
    json.dump(_make(request["people"], request["direct"], request["groups"], request["lanes"]), sys.stdout)
