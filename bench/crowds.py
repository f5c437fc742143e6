"""A management step beside the servers: large groups of people who are nearly all away, made in bulk.

``python -m bench.crowds`` in the environment of a system; standard input ``{"crowds": [{"users": [id, …], "more": N, "lane": N or
null, "app": name or absent}, …]}``, standard output ``{"groups": [id, …]}``. Each group has the ``users``, who exist, the first
of them as its maker, and ``more`` new people with a device each, reached by push if there is an ``app``. Accounts and devices
are written in bulk; the membership is the product's own statement, but its outbox row is taken away again: nothing is marked
yet, so that the marks of what is measured are the first.
"""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from typing import Any

import django

from bench.accounts import group_in
from whatsapp.infra.clock import now_ms


def _copy(model: Any, rows: list[Any]) -> None:
    """Unsaved instances of one model, by ``COPY``: a tenth of the time of ``bulk_create``."""
    from django.db import connection

    # What the database fills in is left to it.
    fields = [field for field in model._meta.concrete_fields if not field.has_db_default()]
    names = ", ".join(f'"{field.column}"' for field in fields)
    with (
        connection.cursor() as cursor,
        cursor.copy(f'COPY "{model._meta.db_table}" ({names}) FROM STDIN') as copy,
    ):
        for row in rows:
            copy.write_row(
                [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]
            )


def _make(crowds: list[dict[str, Any]]) -> dict[str, Any]:
    # Django must be set up before its models can be read.
    from django.db import transaction

    from accounts.models import Account, Device
    from delivery.models import Device as Linked
    from delivery.models import Outbox
    from delivery.store.sync import store
    from delivery.store.values import Change
    from notifications.models import PushTarget

    def _target(device: Device, app: str) -> PushTarget:
        token = str(device.pk).replace("-", "") * 2
        hashed = hashlib.sha256(token.encode()).digest()
        return PushTarget(device=device, app=app, token=token, token_hash=hashed, set_at=device.linked_at)

    number = Account.objects.filter(phone__startswith="+1556").count()
    made: list[str] = []
    for crowd in crowds:
        now = now_ms()
        accounts = [Account(phone=f"+1556{number + n:07}", created_at=now) for n in range(crowd["more"])]
        number += len(accounts)
        devices = [
            Device(user=account, name="away", primary=True, linked_at=now, last_seen_at=now, session_from=now)
            for account in accounts
        ]
        users = [*crowd["users"], *(str(account.pk) for account in accounts)]
        group, writer = group_in(crowd["lane"]), str(uuid.uuid4())
        with transaction.atomic():
            _copy(Account, accounts)
            _copy(Device, devices)
            if crowd.get("app"):
                _copy(PushTarget, [_target(one, crowd["app"]) for one in devices])
            _copy(Linked, [Linked(device=one.pk, member=one.user_id, linked_at=now) for one in devices])
            store.create_group(group, now)
            added = Change(str(uuid.uuid4()), "member_added", None, tuple(users))
            store.change(writer, group, users[0], [added], now)
            Outbox.objects.filter(writer=writer).delete()
        made.append(group)
    return {"groups": made}


if __name__ == "__main__":
    django.setup()
    json.dump(_make(json.load(sys.stdin)["crowds"]), sys.stdout)
