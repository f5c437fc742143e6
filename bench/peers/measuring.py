"""The measurements of :mod:`bench.phases` on another server: the same generator, the same windows."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cores import Cores
from bench.figures import Figures
from bench.generator import Generators
from bench.peers.channels import Channels, ChannelsPubSub
from bench.peers.ejabberd import Ejabberd
from bench.peers.server import Peer
from bench.phases import CONNECTS_AT_ONCE, WARM_SOCKETS
from bench.report import all_delivered, keeps_up
from bench.windows import of_idle, of_lives, of_room

PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Ejabberd, Channels, ChannelsPubSub)}
_STOP_S = 30.0


class PeerBench:
    """One peer with generators of its own, on the same core as ours. ``sent``: messages since it was started."""

    def __init__(self, options: argparse.Namespace, peer: Peer, generators: Generators) -> None:
        self.options = options
        self.peer = peer
        self.generators = generators
        self.sent = 0
        self.problems: Counter[str] = Counter()
        self.examples: list[str] = []

    def saturation(self, in_flight: int, receipts: bool) -> Figures:
        """One run with a constant number of lives under way."""
        count = len(self.generators)
        shares = [{"in_flight": in_flight // count + (n < in_flight % count)} for n in range(count)]
        return self._lives(receipts, lambda: self.generators.all("saturate", shares))

    def open_rate(self, per_second: float, run: int, receipts: bool) -> Figures:
        """One run of messages that begin at random times, so many a second."""
        count = len(self.generators)
        seeds = [{"seed": 1000 * run + n} for n in range(count)]
        return self._lives(
            receipts, lambda: self.generators.all("rate", seeds, per_second=per_second / count)
        )

    def idle(self, count: int) -> Figures:
        """One run of connections that do nothing."""
        people = self.peer.people(range(count + WARM_SOCKETS))

        def connect(crowd: list[dict[str, str]]) -> Figures:
            return self.generators.one(
                "connect_peer_idle", peer=self.peer.name, people=crowd, at_once=CONNECTS_AT_ONCE
            )

        return of_idle(
            self.peer, self.generators, connect, people[:WARM_SOCKETS], people[WARM_SOCKETS:], self._blame
        )

    def room(self, members: int, per_second: float, run: int) -> Figures:
        """One run of a room. A server that is behind is not waited for: nothing is checked then, and it is started again, so that
        nothing of it is left."""
        options = self.options
        people = self.peer.room(members)
        senders = min(options.senders, members)
        self.generators.one(
            "peer_room", peer=self.peer.name, people=people, senders=senders, body_bytes=options.body_bytes
        )
        seed = 1000 * run + members
        figures = of_room(self.peer, self.generators, options, per_second, seed).figures
        if all_delivered(members, figures):
            self._answered(self.generators.one("room_stop", timeout_s=_STOP_S))
        else:
            self.generators.one("room_leave")
            self._forget()
        return figures

    def check(self) -> Figures:
        """What a peer that stores has stored, and what the generators saw."""
        stored = self.peer.stored()
        if stored is not None and stored != self.sent:
            self._blame({"stored_differs": abs(stored - self.sent)})
        return {
            "messages": self.sent,
            "stored": stored,
            "problems": dict(self.problems),
            "examples": self.examples[:20],
        }

    def _lives(self, receipts: bool, begin: Callable[[], object]) -> Figures:
        options = self.options
        count = len(self.generators)
        people = self.peer.people(range(2 * options.pairs))
        pairs = [{"a": people[2 * n], "b": people[2 * n + 1]} for n in range(options.pairs)]
        self.generators.all(
            "peer_pairs",
            [{"pairs": pairs[n::count]} for n in range(count)],
            peer=self.peer.name, body_bytes=options.body_bytes, receipts=receipts,
        )  # fmt: skip
        answers: list[Figures] = []
        try:
            figures = of_lives(
                self.peer, self.generators, options, begin,
                lambda: answers.extend(self.generators.all("stop", timeout_s=_STOP_S)),
            )  # fmt: skip
        finally:
            self.generators.all("close_pairs")
        behind = not keeps_up(figures)
        for answer in answers:
            self._answered(answer, behind)
        if behind and any(answer["lost"] for answer in answers):
            self._forget()
        return figures

    def _answered(self, answer: Figures, behind: bool = False) -> None:
        """``behind``: what did not come is not lost, it would have come later."""
        self._blame(answer["problems"], answer["examples"])
        self.sent += answer["begun"] - answer["lost"]
        if answer["lost"] and not behind:
            self._blame({"lost": answer["lost"]})

    def _forget(self) -> None:
        """Nothing of what was begun matters any more; how much of it is stored is nobody's promise."""
        self.peer.restart_gateways()
        self.sent = self.peer.stored() or self.sent

    def _blame(self, problems: dict[str, int], examples: list[str] | None = None) -> None:
        self.problems.update(problems)
        self.examples += examples or []


@contextmanager
def running(
    names: list[str], options: argparse.Namespace, folder: Path, cores: Cores, say: Callable[[str], None]
) -> Iterator[dict[str, PeerBench]]:
    """The peers that are asked for, started; afterwards none is left. ``folder`` is removed by its owner."""
    found: dict[str, PeerBench] = {}
    peers: list[Peer] = []
    try:
        for name in names:
            say(f"starting {name}")
            peer = PEERS[name](folder, cores, say)
            peers.append(peer)
            peer.start()
            found[name] = PeerBench(options, peer, Generators(options.clients))
        yield found
    finally:
        for one in found.values():
            one.generators.close()
        for peer in peers:
            peer.stop()
            peer.remove()
