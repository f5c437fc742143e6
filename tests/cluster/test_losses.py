"""What clients see of each part's loss, and for how long: the figures of the table in ``docs/growing.md``.

Run by ``./dev faults --only losses``, which prints one row a part. Each promise of the table is checked on the way: nothing
confirmed is lost, no socket ends that need not, and what must go on goes on.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.cluster.load import Load
from tests.support.stack import System

pytestmark = [pytest.mark.needs_cluster, pytest.mark.timeout(900, func_only=True)]

#: How long a part stays away, seconds.
AWAY_S = 10.0
SOME = 15


class Loss(NamedTuple):
    """One part and what its loss may do. ``sockets``: some end; ``confirms``: ✓ go on while it is away."""

    part: str
    number: int = signal.SIGKILL
    sockets: bool = False
    confirms: bool = True

    @property
    def what(self) -> str:
        return f"{self.part} {'frozen' if self.number == signal.SIGSTOP else 'killed'}"


ONE_MACHINE = [
    Loss("gateway-1", sockets=True),
    Loss("worker-1"),
    Loss("fanout-1"),
    Loss("beat"),
    Loss("valkey"),
    Loss("valkey", signal.SIGSTOP),
    # A signal that freezes it reaches the parent of its backends alone; a primary that hangs: tests/faults/test_promotion.py
    Loss("postgres", confirms=False),
]
CLUSTER = [Loss("cassandra-2"), Loss("cassandra-2", signal.SIGSTOP)]


@pytest.fixture(scope="module")
def one_machine() -> Iterator[System]:
    with System(
        gateways=2, worker=True, fanout=True, beat=True, limits={"http_requests_per_address": 10_000}
    ) as system:
        yield system


@pytest.mark.parametrize("loss", ONE_MACHINE, ids=lambda loss: loss.what.replace(" ", "_"))
async def test_losses_on_one_machine(one_machine: System, loss: Loss) -> None:
    await measure(one_machine, loss)


@pytest.mark.parametrize("loss", CLUSTER, ids=lambda loss: loss.what.replace(" ", "_"))
async def test_losses_of_a_node_of_cassandra(cluster: System, loss: Loss) -> None:
    await measure(cluster, loss)


async def measure(system: System, loss: Loss) -> None:
    async with Load.on(system) as load:
        arrivals = Arrivals(load)
        await load.goes_on("before", SOME)
        closed, told = _closed(load), sum(map(load.unavailable, load.writers))
        confirmed, lost = load.confirmed, time.monotonic()
        load.phase = "away"
        system.kill(loss.part, loss.number)
        if loss.confirms:
            await load.goes_on("away", SOME)
        await asyncio.sleep(max(0.0, lost + AWAY_S - time.monotonic()))  # that is what is measured
        while_away = load.confirmed - confirmed
        back = time.monotonic()
        if loss.number == signal.SIGSTOP:
            system.kill(loss.part, signal.SIGCONT)
        else:
            await asyncio.to_thread(system.restart, loss.part)
        started = time.monotonic()
        await load.goes_on("back", SOME)
        await load.all_is_well()
        ended = _closed(load) - closed
        if not loss.sockets:
            assert ended == 0, f"{ended} sockets ended"
        if not loss.confirms:
            assert while_away <= len(load.writers), (
                f"{while_away} confirmed without {loss.part}"
            )  # under way at its end
        print(
            f"\nLOSS {loss.what:22} away {back - lost:5.1f} s, start {started - back:5.1f} s: sockets ended {ended}, "
            f"unavailable {sum(map(load.unavailable, load.writers)) - told}, ✓ meanwhile {while_away}, "
            f"longest ✓ {arrivals.longest_tick(lost):.1f} s (before {arrivals.longest_tick(0, lost):.1f}), "
            f"longest delivery {arrivals.longest(lost):.1f} s (before {arrivals.longest(0, lost):.1f}), "
            f"all again {max(0.0, load.settled - started):.1f} s after it was back"
        )


def _closed(load: Load) -> int:
    return sum(len(device.closes) for device in [*load.writers, *load.readers])


class Arrivals:
    """When each message was first sent, when confirmed, and when it was with its reader."""

    def __init__(self, load: Load) -> None:
        self._begun: dict[str, float] = {}
        self._confirmed: dict[str, float] = {}
        self._there: dict[str, float] = {}
        history = load.history
        sending, confirmed, received = history.sending, history.confirmed, history.received

        def note_sending(sent: Any) -> Any:
            self._begun[sent.message_id] = time.monotonic()
            return sending(sent)

        def note_confirmed(sent: Any, answer: Any) -> None:
            self._confirmed.setdefault(sent.message_id, time.monotonic())
            confirmed(sent, answer)

        def note_received(device: str, message: Any) -> None:
            if any(device == reader.id for reader in load.readers):
                self._there.setdefault(message.message_id, time.monotonic())
            received(device, message)

        history.sending = note_sending  # type: ignore[method-assign]
        history.confirmed, history.received = note_confirmed, note_received  # type: ignore[method-assign]

    def longest_tick(self, since: float, until: float = float("inf")) -> float:
        """Seconds from the first attempt to a ✓ of that time."""
        waits = [
            at - self._begun[one]
            for one, at in self._confirmed.items()
            if since <= at < until and one in self._begun
        ]
        return max([0.0, *waits])

    def longest(self, since: float, until: float = float("inf")) -> float:
        """Seconds from a ✓ of that time to the reader's screen."""
        waits = [
            self._there[one] - at
            for one, at in self._confirmed.items()
            if since <= at < until and one in self._there
        ]
        return max([0.0, *waits])
