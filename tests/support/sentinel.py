"""A broker that three Sentinels look after: a Valkey, its replica, and the Sentinels, in a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Self

from devtools import ports, wheels
from devtools.processes import Child, Spec
from devtools.valkey import ValkeyServer
from devtools.valkey_cluster import Talk

NAME = "broker"
PASSWORD = "secret"


class SentinelBroker:
    """``master()`` is the server that the Sentinels name now."""

    def __init__(self, folder: Path, *, down_after_ms: int = 1_500) -> None:
        self.servers: list[ValkeyServer] = []
        self.children: dict[str, Child] = {}
        self._sentinels: list[int] = []
        self._folder = folder
        self._down_after_ms = down_after_ms

    def __enter__(self) -> Self:
        taken: set[int] = set()
        for number in range(2):
            port = ports.choose(taken)
            taken.add(port)
            config = [f"primaryauth {PASSWORD}"]
            if number:
                config.append(f"replicaof 127.0.0.1 {self.servers[0].port}")
            server = ValkeyServer(
                self._folder / f"broker-{number}",
                password=PASSWORD,
                log=self._folder / f"broker-{number}.log",
                port=port,
                name=f"broker-{number}",
                config=config,
                options=["--repl-diskless-sync-delay", "0"],
            )
            self.servers.append(server)
            self._start(server.spec)
        for number in range(3):
            port = ports.choose(taken)
            taken.add(port)
            self._sentinels.append(port)
            self._start(self._sentinel(number, port))
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children.values():
            with contextlib.suppress(Exception):
                child.kill()

    def _start(self, spec: Spec) -> None:
        child = self.children[spec.name] = Child(spec)
        child.start()
        child.wait_ready()

    def _sentinel(self, number: int, port: int) -> Spec:
        folder = self._folder / f"sentinel-{number}"
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nset-proc-title no\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.servers[0].port} 2\n"
            f"sentinel auth-pass {NAME} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {NAME} {self._down_after_ms}\n"
            f"sentinel failover-timeout {NAME} 10000\n"
        )
        return Spec(
            name=f"sentinel-{number}",
            argv=[str(wheels.valkey_server()), str(config), "--sentinel"],
            env=self.servers[0].env,
            cwd=Path("/"),
            log=self._folder / f"sentinel-{number}.log",
            ready=lambda child: ports.answers("127.0.0.1", port),
        )

    @property
    def url(self) -> str:
        """What BROKER_URL is."""
        return ";".join(f"sentinel://:{PASSWORD}@127.0.0.1:{port}" for port in self._sentinels)

    @property
    def env(self) -> dict[str, str]:
        return {"BROKER_URL": self.url, "BROKER_SENTINEL_MASTER": NAME}

    def ask(self, *words: str) -> object:
        """A command to the first Sentinel."""
        with Talk(self._sentinels[0], "") as talk:
            return talk(*words)

    def master(self) -> ValkeyServer:
        found = self.ask("SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", NAME)
        assert isinstance(found, list)
        return next(server for server in self.servers if server.port == int(found[1]))

    def ready(self) -> bool:
        """Every Sentinel knows the replica and the other two."""
        for port in self._sentinels:
            with Talk(port, "") as talk:
                fields = talk("SENTINEL", "PRIMARY", NAME)
            known = dict(zip(fields[::2], fields[1::2], strict=True))
            if known[b"num-slaves"] != b"1" or known[b"num-other-sentinels"] != b"2":
                return False
        return True

    def kill_master(self) -> ValkeyServer:
        server = self.master()
        self.children[server.name].kill()
        return server
