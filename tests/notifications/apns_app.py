"""An app of APNs: the responder, a sender whose key the responder knows, and devices."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from devtools.push_servers.apns import Apns
from devtools.push_servers.h2_server import STREAMS
from notifications.senders.apns import ApnsSender
from notifications.senders.http2 import Times
from notifications.senders.interface import Push, PushApp, Target, Urgency
from tests.support.certificates import Authority

TOPIC = "org.example.messenger"
KEY_ID, TEAM = "ABC123DEFG", "DEF123GHIJ"
#: For what comes at once on an idle machine.
PATIENT = Times(connect=20, wait=20, answer=20)


class Clock:
    """Of the sender and of the provider, each moved alone."""

    def __init__(self) -> None:
        self.moved_ms = 0
        self.providers_s = 0.0

    def now_ms(self) -> int:
        return int(time.time() * 1_000) + self.moved_ms

    def now_s(self) -> float:
        return time.time() + self.providers_s


class App:
    def __init__(self, folder: Path, streams: int = STREAMS, times: Times = PATIENT) -> None:
        authority = Authority(folder, "authority")
        certificate, key = authority.sign("apns", "127.0.0.1")
        self.certificates = authority
        self.signing = ec.generate_private_key(ec.SECP256R1())
        public = self.signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.clock = Clock()
        self.apns = Apns(
            certificate,
            key,
            keys={KEY_ID: (TEAM, public.decode())},
            topics={TOPIC, f"{TOPIC}.voip"},
            streams=streams,
        )
        self.apns.now_s = self.clock.now_s
        self.times = times
        self.sender: ApnsSender

    def options(self, **others: str) -> dict[str, str]:
        return {
            "key": _pem(self.signing),
            "key_id": KEY_ID,
            "team_id": TEAM,
            "topic": TOPIC,
            "url": self.apns.server.url,
            "ca_file": str(self.certificates.file),
            **others,
        }

    def another(self, **others: str) -> ApnsSender:
        """A further sender, with other options."""
        app = PushApp("ios", "apns", self.options(**others))
        return ApnsSender.from_options(app, self.times, self.clock.now_ms)


@asynccontextmanager
async def opened(
    folder: Path, *, streams: int = STREAMS, times: Times = PATIENT, **options: str
) -> AsyncIterator[App]:
    app = App(folder, streams, times)
    async with app.apns.server:
        app.sender = app.another(**options)
        yield app
        await app.sender.close()


def target(token: str = "", **others: object) -> Target:
    token = token or os.urandom(32).hex()
    return Target("user", "device", "ios", token)._replace(**others)  # type: ignore[arg-type]


def push(urgency: Urgency = Urgency.MESSAGE, *, badge: int | None = 1, **others: object) -> Push:
    made = Push(str(uuid.uuid4()), uuid.uuid4().hex, urgency, 3_600, badge)
    return made._replace(**others)  # type: ignore[arg-type]


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
