"""Apple's push service for ``./dev bench push``, in a process of its own: ``python -m bench.push_provider``.

Standard input: one line ``{"port", "certificate", "key", "key_id", "team", "topic", "public"}``, then ``report`` as often as
wanted. Standard output: ``ready``, then for each ``report`` a line ``{token: [when each push was accepted, …]}`` of what came
since the last one; seconds of the clock that all processes of a machine share (``CLOCK_MONOTONIC``).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509 import IPAddress

from devtools import ports
from devtools.certificate import self_signed
from devtools.paths import REPO
from devtools.push_servers.apns import Apns
from devtools.push_servers.h2_server import Request

APP: Final = "ios"
_TOPIC: Final = "org.example.messenger"
_KEY_ID, _TEAM = "ABC123DEFG", "DEF123GHIJ"
#: As many as the sender will open: what limits it is the sender and the worker, not the provider.
_STREAMS: Final = 1_000


class _Timed(Apns):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.at: dict[str, list[float]] = defaultdict(list)

    def _show(self, request: Request, unique: str) -> None:
        super()._show(request, unique)
        self.at[request.path.rpartition("/")[2]].append(time.perf_counter())


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    wanted = json.loads(await lines.readline())
    apns = _Timed(
        Path(wanted["certificate"]),
        Path(wanted["key"]),
        keys={wanted["key_id"]: (wanted["team"], wanted["public"])},
        topics={wanted["topic"]},
        streams=_STREAMS,
    )
    await apns.server.start(wanted["port"])
    print("ready", flush=True)
    while await lines.readline():
        print(json.dumps(apns.at), flush=True)
        apns.at.clear()
    await apns.server.stop()


class Provider:
    """The process, as the bench sees it: ``with Provider(folder) as provider``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = ports.choose()
        self._signing = ec.generate_private_key(ec.SECP256R1())

    def variables(self) -> dict[str, str]:
        """What the system that sends to it needs."""
        secret = self._signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        prefix = f"PUSH_{APP.upper()}_"
        return {
            "PUSH_APPS": APP,
            f"{prefix}PROVIDER": "apns",
            f"{prefix}KEY": secret.decode(),
            f"{prefix}KEY_ID": _KEY_ID,
            f"{prefix}TEAM_ID": _TEAM,
            f"{prefix}TOPIC": _TOPIC,
            f"{prefix}URL": f"https://127.0.0.1:{self._port}",
            f"{prefix}CA_FILE": str(self._folder / "push.pem"),
        }

    def __enter__(self) -> Self:
        certificate, key = self_signed("push", [IPAddress(IPv4Address("127.0.0.1"))])
        (self._folder / "push.pem").write_bytes(certificate)
        (self._folder / "push.key").write_bytes(key)
        public = self._signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.push_provider"],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        wanted = {
            "port": self._port,
            "certificate": str(self._folder / "push.pem"),
            "key": str(self._folder / "push.key"),
            "key_id": _KEY_ID,
            "team": _TEAM,
            "topic": _TOPIC,
            "public": public.decode(),
        }
        if self._ask(json.dumps(wanted)) != "ready":
            raise RuntimeError("the push provider of the bench did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def accepted(self) -> dict[str, list[float]]:
        """Token → when it accepted each push since the last call."""
        found: dict[str, list[float]] = json.loads(self._ask("report"))
        return found

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError("the push provider of the bench has ended")
        return answer


if __name__ == "__main__":
    asyncio.run(_serve())
