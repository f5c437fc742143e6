"""A push service on this machine with its certificate, and the keys of browsers that subscribe there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from devtools.push_servers.webpush import PushService
from notifications import vapid
from notifications.senders.interface import Push, Target, Urgency
from tests.support.certificates import Authority

KEY = ec.generate_private_key(ec.SECP256R1())
CONTENT = b'{"from":"Ada","text":"hello"}'
PUSH = Push("018f-1", "conversation-1_-", Urgency.MESSAGE, 3_600, 7, CONTENT)


class Service(PushService):
    def __init__(self, folder: Path) -> None:
        authority = Authority(folder, "push-services")
        self.ca_file = authority.file
        super().__init__(*authority.sign("push-service", "127.0.0.1"))


class Browser:
    """For tests that need no real one."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)

    def target(self, endpoint: str) -> Target:
        public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return Target("user", "device", "web", endpoint, public, self._auth)

    def opened(self, body: bytes) -> dict[str, Any]:
        """What its service worker would get."""
        plain = http_ece.decrypt(body, private_key=self._key, auth_secret=self._auth)
        found: dict[str, Any] = json.loads(plain)
        return found


def options(service: Service, **more: str) -> dict[str, str]:
    """Of an app that this push service takes."""
    return {
        "private_key": vapid.private_text(KEY),
        "subject": "mailto:operations@example.org",
        "ca_file": str(service.ca_file),
        "loopback": "1",
        **more,
    }
