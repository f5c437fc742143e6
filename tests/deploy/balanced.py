"""Gateways and an api process by the image's own command, each with an address as containers have, behind Debian's HAProxy."""

from __future__ import annotations

import csv
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from cryptography import x509

from devtools import ports
from devtools.certificate import self_signed
from devtools.paths import REPO
from devtools.processes import Child, Spec
from tests.deploy.names import Names
from tests.support.stack import System

PROGRAM = "/usr/sbin/haproxy"  # devtools/packages.py
CONFIGURATION = REPO / "docker" / "haproxy.cfg"
NAME = "chat.example"
#: Loopback addresses stand for containers'.
ADDRESSES = ("127.0.24.1", "127.0.24.2")
API = "127.0.24.3"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for :data:`NAME`: (what clients trust, what the balancer reads)."""
    public, secret = self_signed(NAME, [x509.DNSName(NAME)])
    trusted, both = folder / "trusted.pem", folder / "certificates" / f"{NAME}.pem"
    both.parent.mkdir(parents=True)
    trusted.write_bytes(public)
    both.write_bytes(public + secret)
    return trusted, both


class Balanced:
    """``system``'s engines, a gateway at each of ``addresses``, an api process at :data:`API`, and a balancer that finds them by
    name."""

    def __init__(
        self, system: System, names: Names, folder: Path, addresses: Sequence[str] = ADDRESSES
    ) -> None:
        self.system = system
        self.data = system.data
        self.port, self.statistics, gateway = ports.choose(), ports.choose(), ports.choose()
        self.trusted, _ = certificate(folder)
        self.children: dict[str, Child] = {}
        self.private_ports: dict[str, int] = {}
        self.serving = f"http://{API}:{gateway}"
        for address in (*addresses, API):
            self.private_ports[address] = private = ports.choose()
            env = {**system.env, "BIND": address, "PORT": str(gateway), "PRIVATE_PORT": str(private)}
            self.children[address] = Child(
                Spec(
                    name=address,
                    argv=[str(REPO / "docker" / "run"), "api" if address == API else "gateway"],
                    env={**env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
                    cwd=REPO,
                    log=folder / f"{address}.log",
                    ready=lambda child: '"private_port"' in child.output(),
                    stop_timeout=30,
                )
            )
        self.balancer = Child(
            Spec(
                name="haproxy",
                argv=[PROGRAM, "-W", "-f", str(CONFIGURATION)],
                env={
                    "PATH": os.environ["PATH"],
                    "CERTIFICATES": str(folder / "certificates"),
                    "GATEWAYS": f"gateway.test:{gateway}",
                    "APIS": f"api.test:{gateway}",
                    "RESOLVER": names.address,
                    "HEALTH_HOST": NAME,
                    "BIND": f"127.0.0.1:{self.port}",
                    "STATS_BIND": f"127.0.0.1:{self.statistics}",
                },
                cwd=Path("/"),
                log=folder / "haproxy.log",
                ready=lambda child: ports.answers("127.0.0.1", self.port),
            )
        )

    def __enter__(self) -> Self:
        for child in self.children.values():
            child.start()
        for child in self.children.values():
            child.wait_ready()
        self.balancer.start()
        self.balancer.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.balancer.kill()
        for child in self.children.values():
            child.kill()

    def tls(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.trusted)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def state(self) -> dict[str, str]:
        """Address → what the balancer thinks of the process there: ``UP``, ``DOWN`` …, as its statistics say."""
        return {row["addr"].rpartition(":")[0]: row["status"] for row in self._rows() if row["addr"]}

    def sockets(self) -> dict[str, int]:
        """Address of a gateway → connections that are open to it."""
        return {
            row["addr"].rpartition(":")[0]: int(row["scur"])
            for row in self._rows()
            if row["addr"] and row["pxname"] == "gateways"
        }

    def _rows(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.statistics}/stats;csv", timeout=5) as answer:
            rows = list(csv.DictReader(answer.read().decode().removeprefix("# ").splitlines()))
        return [
            row
            for row in rows
            if row["pxname"] in ("gateways", "apis") and row["svname"] not in ("BACKEND", "FRONTEND")
        ]

    def check(self) -> subprocess.CompletedProcess[str]:
        """``haproxy -c``: warnings too."""
        return subprocess.run(
            [PROGRAM, "-c", "-f", str(CONFIGURATION)],
            env=self.balancer.spec.env, capture_output=True, text=True, check=False,
        )  # fmt: skip
