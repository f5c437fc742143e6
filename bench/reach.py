"""A management step beside the servers: ``python -m bench.reach`` in the environment of a system has devices reached by push.

Standard input ``{"devices": [id, …], "app": name}``, standard output ``{}``."""

from __future__ import annotations

import hashlib
import json
import sys

import django

from whatsapp.infra.clock import now_ms


def _reach(devices: list[str], app: str) -> None:
    from notifications.models import PushTarget

    targets = []
    for device in devices:
        token = device.replace("-", "") * 2
        hashed = hashlib.sha256(token.encode()).digest()
        targets.append(PushTarget(device_id=device, app=app, token=token, token_hash=hashed, set_at=now_ms()))
    PushTarget.objects.bulk_create(targets, batch_size=1_000)


if __name__ == "__main__":
    django.setup()
    asked = json.load(sys.stdin)
    _reach(asked["devices"], asked["app"])
    json.dump({}, sys.stdout)
