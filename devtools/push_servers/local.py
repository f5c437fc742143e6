"""APNs and FCM in one process for ``./dev up --push``: what they accept is a line of a file, as an SMS is in development.

``python -m devtools.push_servers.local --folder DIR --out FILE --apns PORT --fcm PORT``. ``DIR`` holds the keys of both sides,
made once; ``FILE`` gets a JSON object a line. A token that begins with ``dead`` is that of an app that was removed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import IPAddress

from devtools.certificate import self_signed
from devtools.push_providers import KEY_ID, READY, TEAM_ID, TOPIC
from devtools.push_servers.apns import Apns, Told
from devtools.push_servers.fcm import Cut, GoAway, Google, Reply, Sent, unregistered
from devtools.push_servers.h2_server import Request

_DEAD: Final = "dead"
_DAYS: Final = 3_650


class Written:
    """Appends to ``file``, which only its owner reads."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, app: str, token: str, headers: dict[str, str], payload: dict[str, Any]) -> None:
        line = {
            "at": int(time.time() * 1_000),
            "app": app,
            "token": token,
            "headers": headers,
            "payload": payload,
        }
        with open(os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as out:
            out.write(json.dumps(line) + "\n")


class _Apple(Apns):
    def __init__(self, written: Written, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._written = written

    def _handle(self, request: Request) -> None:
        if request.path.rpartition("/")[2].lower().startswith(_DEAD):
            self.answers.append(Told(410, "Unregistered", timestamp=int(time.time() * 1_000)))
        super()._handle(request)
        self.provider_tokens.clear()

    def _show(self, request: Request, unique: str) -> None:
        super()._show(request, unique)
        self.shown.clear()
        headers = {name: value for name, value in request.headers.items() if name.startswith("apns-")}
        self._written.add("ios", request.path.rpartition("/")[2], headers, json.loads(bytes(request.body)))


class _Google(Google):
    def __init__(self, written: Written, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._written = written
        self.answer = self._dead

    async def _dead(self, sent: Sent) -> Reply | Cut | GoAway | None:
        self.asked.clear()
        return unregistered() if sent.token.startswith(_DEAD) else None

    def accept(self, sent: Sent) -> Reply:
        reply = super().accept(sent)
        self.sent.clear()
        self._written.add("android", sent.token, sent.android, dict(sent.data))
        return reply


def _private(file: Path, text: bytes) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(text)


def _key(file: Path, made: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Any:
    """The key in ``file``, or else ``made``, which is written there."""
    if not file.exists():
        _private(file, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return load_pem_private_key(file.read_bytes(), password=None)


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "certificate.key"
    if not (certificate.exists() and key.exists()):
        text, secret = self_signed("push", [IPAddress(IPv4Address("127.0.0.1"))], days=_DAYS)
        _private(key, secret)
        certificate.write_bytes(text)
    return certificate, key


async def serve(folder: Path, out: Path, apns_port: int, fcm_port: int) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    written = Written(out)
    tls = _certificate(folder)
    apples = cast(
        ec.EllipticCurvePrivateKey, _key(folder / "apns.p8", ec.generate_private_key(ec.SECP256R1()))
    )
    public = apples.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    _key(folder / "vapid.pem", ec.generate_private_key(ec.SECP256R1()))
    account = _key(folder / "service-account.key", rsa.generate_private_key(65_537, 2_048))
    apns = _Apple(written, *tls, keys={KEY_ID: (TEAM_ID, public)}, topics={TOPIC})
    google = _Google(written, *tls, account_key=account)
    await apns.server.start(apns_port)
    await google.server.start(fcm_port)
    _private(folder / "service-account.json", google.credentials().encode())  # it names the port
    print(READY, flush=True)
    await ended.wait()
    await apns.server.stop()
    await google.server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="devtools.push_servers.local", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--apns", type=int, required=True)
    parser.add_argument("--fcm", type=int, required=True)
    args = parser.parse_args()
    args.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    args.folder.chmod(0o700)  # whoever chose the ports has made it
    asyncio.run(serve(args.folder, args.out, args.apns, args.fcm))


if __name__ == "__main__":
    main()
