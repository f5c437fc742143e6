"""The faults, by name. Each strikes while the crowd writes, and is over when its function returns: from then on the system has
to recover by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from tests.faults.trials import pests, servers
from tests.faults.trials.field import Field

TEN_MINUTES_MS = 600_000
NODES = ("cassandra-1", "cassandra-2", "cassandra-3")
#: What a process is connected with by a wire of its own, so that the link alone fails.
LINKS = {"database": "DATABASE_URL", "hot": "HOT_URL"}


@dataclass(frozen=True)
class Fault:
    """``wired``: processes that reach PostgreSQL and Valkey over wires. ``small``: a part whose disk has so many MB. ``quick``:
    CI runs it. ``nodes``: of Cassandra, which then keep the messages, three copies of each."""

    strike: Callable[[Field], Awaitable[None]]
    wired: tuple[str, ...] = ()
    small: tuple[str, int] | None = None
    quick: bool = False
    #: The system may not confirm anything while it lasts; else somebody has to write on meanwhile.
    outage: bool = False
    nodes: int = 0


async def kill(name: str, field: Field) -> None:
    await field.kill(name or field.gateway)


async def freeze(name: str, field: Field) -> None:
    await field.freeze(name or field.gateway)


async def kill_node(field: Field) -> None:
    """kill -9 of one of three nodes; it stays away for a while, and is started again under load."""
    node = field.chance.choice(NODES)
    field.system.kill(node)
    await field.hold()
    await field.run(node)


async def freeze_node(field: Field) -> None:
    await field.freeze(field.chance.choice(NODES))


async def flush(field: Field) -> None:
    """Some devices are away, and what waits for them is marked there and nowhere else."""
    async with field.crowd.without(*field.chance.sample(field.crowd.devices, 3)):
        await field.crowd.go_on(40, "some are away")
        field.rig.hot.flushdb()
    await field.moment()
    field.rig.hot.flushall()


async def silence_after(strike: Callable[[Field], Awaitable[None]], field: Field) -> None:
    """The bare sockets are away, everybody stops writing, and then it strikes: no later message shows what was lost."""
    crowd = field.crowd
    async with crowd.without(*[device for device in crowd.devices if device not in crowd.members]):
        await crowd.go_on(40, "some are away")
        await crowd.end()
        await strike(field)


async def flush_once(field: Field) -> None:
    field.rig.hot.flushall()


async def flush_broker(field: Field) -> None:
    for _ in range(5):
        servers.broker(field.system).flushdb()
        await field.moment(0.5)


async def deploy(field: Field) -> None:
    """Everything is replaced in its order, one after the other."""
    for name in ("gateway-1", "gateway-2", "worker-1", "fanout-1", "beat"):
        await field.end_in_order(name)


async def clock(name: str, ms: int, field: Field) -> None:
    field.clock(name, ms)
    try:
        await field.hold()
    finally:
        field.clock(name, 0)


async def cut_clients(field: Field) -> None:
    for _ in range(10):
        await asyncio.gather(*[device.cut() for device in field.chance.sample(field.crowd.devices, 3)])
        await field.moment(0.5)


async def storm(field: Field) -> None:
    """Every client loses its socket at the same moment and comes back at once, with others who only listen."""
    async with pests.listeners(field, 60) as others:
        for _ in range(3):
            await asyncio.gather(*[device.cut() for device in [*field.crowd.devices, *others]])
            await asyncio.gather(*[other.online(timeout=60) for other in others])


async def silence_clients(field: Field) -> None:
    """Half-open: no FIN, no byte."""
    victims = field.chance.sample(field.crowd.members, 3)
    for victim in victims:
        victim.network.silence()
    await field.hold()
    for victim in victims:
        victim.network.restore()


async def slow_clients(delay_s: float, bytes_per_s: int, field: Field) -> None:
    for member in field.crowd.members:
        member.network.delay_s, member.network.bytes_per_s = delay_s, bytes_per_s
    await field.hold()
    for member in field.crowd.members:
        member.network.delay_s, member.network.bytes_per_s = 0.0, 0


async def cut_link(link: str, field: Field) -> None:
    for _ in range(10):
        for (_, variable), wire in field.wires.items():
            if variable == LINKS[link]:
                wire.cut()
        await field.moment(0.5)


async def freeze_link(link: str, field: Field) -> None:
    """Half-open: what is open carries nothing, new connections neither, until they are all cut."""
    chosen = [wire for (_, variable), wire in field.wires.items() if variable == LINKS[link]]
    for wire in chosen:
        wire.freeze(new_ones=True)
    await field.hold()
    for wire in chosen:
        wire.back()
        wire.cut()


async def slow_link(delay_s: float, bytes_per_s: int, link: str, field: Field) -> None:
    chosen = [wire for (_, variable), wire in field.wires.items() if variable == LINKS[link]]
    for wire in chosen:
        wire.delay_s, wire.bytes_per_s = delay_s, bytes_per_s
    await field.hold()
    for wire in chosen:
        wire.delay_s, wire.bytes_per_s = 0.0, 0


async def lane_worker(point: str, field: Field) -> None:
    for _ in range(3):
        if point == "lane-take":  # a busy lane is taken once
            async with field.crowd.quiet():
                field.rig.arm(point)
        await field.died(point, ("fanout-1",))


async def gateway_at(point: str, field: Field) -> None:
    for _ in range(2):
        await field.died(point, ("gateway-1", "gateway-2"))


async def false_deaths(field: Field) -> None:
    """Every process looks dead to the sweep again and again, while it writes: the sweep races its own writer."""
    for _ in range(30):
        field.rig.forget_heartbeats()
        await field.moment(0.4)


FAULTS: dict[str, Fault] = {
    "nothing": Fault(Field.moment),
    # processes
    **{f"kill-{part}": Fault(partial(kill, name), quick=quick, outage=outage) for part, name, quick, outage in (
        ("gateway", "", True, False), ("worker", "worker-1", False, False), ("lane-worker", "fanout-1", False, False),
        ("beat", "beat", False, False), ("postgres", "postgres", True, True), ("valkey", "valkey", True, True),
    )},
    **{f"freeze-{part}": Fault(partial(freeze, name), outage=outage) for part, name, outage in (
        ("gateway", "", False), ("worker", "worker-1", False), ("lane-worker", "fanout-1", False),
        ("beat", "beat", False), ("postgres", "postgres", True), ("valkey", "valkey", True),
    )},
    **{f"kill-gateway-at-{point}": Fault(partial(gateway_at, point)) for point in (
        "append-ack", "ack-mark", "before-mark", "mark-push",
    )},
    **{f"kill-lane-worker-at-{point}": Fault(partial(lane_worker, f"lane-{point}")) for point in (
        "take", "mark", "push", "trim",
    )},
    "kill-cassandra-node": Fault(kill_node, nodes=3),
    "freeze-cassandra-node": Fault(freeze_node, nodes=3),
    "deploy": Fault(deploy),
    "two-beats": Fault(servers.two_beats),
    "false-deaths": Fault(false_deaths),
    # what servers keep
    "flush-valkey": Fault(flush),
    "nothing-then-silence": Fault(partial(silence_after, Field.moment)),
    "flush-valkey-then-silence": Fault(partial(silence_after, flush_once), quick=True),
    "kill-valkey-then-silence": Fault(partial(silence_after, partial(kill, "valkey"))),
    "kill-gateway-then-silence": Fault(partial(silence_after, partial(kill, ""))),
    "kill-lane-worker-then-silence": Fault(partial(silence_after, partial(kill, "fanout-1"))),
    "stale-valkey": Fault(servers.stale_valkey, outage=True),
    "flush-broker": Fault(flush_broker),
    "disk-full-postgres": Fault(servers.full_postgres, small=("postgres", 320), outage=True),
    "disk-full-valkey": Fault(servers.full_valkey, small=("valkey", 64), outage=True),
    # the network
    "cut-clients": Fault(cut_clients),
    "half-open-clients": Fault(silence_clients),
    "slow-clients": Fault(partial(slow_clients, 0.3, 0)),
    "narrow-clients": Fault(partial(slow_clients, 0.0, 4_000)),
    "storm": Fault(storm),
    **{f"{kind}-link-{link}": Fault(partial(strike, link), wired=("gateway-1", "worker-1", "fanout-1"), outage=outage)
       for link in LINKS for kind, strike, outage in (
        ("cut", cut_link, False), ("half-open", freeze_link, False),
        ("slow", partial(slow_link, 0.1, 0), False),
        ("narrow", partial(slow_link, 0.0, 50_000), False),
    )},
    # time
    **{f"clock-{part}-{way}": Fault(partial(clock, name, sign * TEN_MINUTES_MS))
       for part, name in (("gateway", "gateway-1"), ("worker", "worker-1"), ("lane-worker", "fanout-1"))
       for way, sign in (("ahead", 1), ("behind", -1))},
    # clients
    "slow-readers": Fault(pests.slow_readers),
    "again-and-out-of-order": Fault(pests.jugglers, quick=True),
    "hostile": Fault(pests.hostile),
}  # fmt: skip
