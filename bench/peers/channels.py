"""A plain Django Channels app with a layer of channels_redis on a Valkey from our wheel (:mod:`bench.peers.channels_app`)."""

from __future__ import annotations

import sys
from importlib.metadata import version

from bench.peers.server import Peer
from devtools import ports
from devtools.paths import REPO
from devtools.processes import Child, Spec
from devtools.valkey import ValkeyServer

_PROCESSES = 2  # as many as ours has gateways


class Channels(Peer):
    name = "channels"
    layer = "core"
    connections = 4_000
    told = "the default layer"
    groups = {"uvicorn": tuple(f"uvicorn-{n}" for n in range(_PROCESSES)), "valkey": ("valkey",)}
    holders = groups["uvicorn"]

    def prepare(self) -> None:
        valkey = ValkeyServer(
            self.folder / "valkey", password="bench", log=self.folder / "valkey.log", env=self.env,  # noqa: S106
            options=["--appendonly", "no"],  # it stores nothing
        )  # fmt: skip
        self.children["valkey"] = Child(valkey.spec)
        self._ports = [ports.choose() for _ in self.holders]
        for name, port in zip(self.holders, self._ports, strict=True):
            self.children[name] = Child(
                Spec(
                    name=name,
                    argv=[
                        sys.executable, "-m", "uvicorn", "bench.peers.channels_app:application", "--port", str(port),
                        "--loop", "uvloop", "--ws", "websockets-sansio", "--lifespan", "off", "--log-level", "warning",
                        "--no-access-log", "--backlog", "1024",
                        # It closes a connection whose pong waits behind other work: under load that is all of them.
                        "--ws-ping-interval", "1000", "--ws-ping-timeout", "1000",
                    ],
                    env={**self.env, "PEER_VALKEY": valkey.url(), "PEER_LAYER": self.layer,
                         "PEER_CONNECTIONS": str(self.connections)},
                    cwd=REPO,
                    log=self.folder / f"{name}.log",
                    ready=lambda child, port=port: not ports.is_free(port),  # type: ignore[misc]
                )
            )  # fmt: skip

    def person(self, number: int) -> dict[str, str]:
        """The two of a pair on different processes."""
        return {
            "user": f"u{number}",
            "url": f"ws://127.0.0.1:{self._ports[number % _PROCESSES]}/ws/u{number}",
        }

    def room(self, members: int) -> list[dict[str, str]]:
        self.rooms += 1
        return [
            {
                "user": f"u{n}",
                "url": f"ws://127.0.0.1:{self._ports[n % _PROCESSES]}/rooms/r{self.rooms}/u{n}",
            }
            for n in range(members)
        ]

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("channels", "channels-redis", "redis", "uvicorn", "uvloop")}

    def setup(self) -> list[str]:
        return [
            f"Channels {version('channels')} on {_PROCESSES} processes of uvicorn (uvloop, websockets-sansio), the two of a "
            f"pair on different ones; channels_redis {version('channels-redis')}, {self.told}, on one Valkey without its AOF",
            "AsyncJsonWebsocketConsumer, a group for each user; message, delivered, read: one group_send each; ✓ after the first",
            "a room: a group for all members, one group_send for a message, whose own copy is its sender's ✓",
            "nobody is authenticated, nothing is stored, nothing kept for who is away, no order, no limits",
        ]


class ChannelsPubSub(Channels):
    """The other layer that channels_redis brings: nothing is kept in lists, so it costs less; it is called beta."""

    name = "channels-pubsub"
    layer = "pubsub"
    told = "the pub/sub layer"
