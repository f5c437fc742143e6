"""Who takes part in :mod:`bench.viral`: who forwards, who is connected, who comes later, who is away, who chats beside it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bench.stack import System
from delivery.lanes import LANES, lane_of


@dataclass
class People:
    """``online``: connected recipients by group. ``rooms`` and ``pairs``: as :class:`bench.beside.Beside` takes them."""

    groups: list[str]
    senders: list[dict[str, str]]
    online: list[list[dict[str, str]]]
    late: list[dict[str, str]]
    rooms: list[dict[str, Any]]
    pairs: list[dict[str, Any]]

    def targets(self) -> list[dict[str, Any]]:
        """The groups in turn to the people who forward."""
        return [
            {"group": group, "sender": number % len(self.senders), "people": people}
            for number, (group, people) in enumerate(zip(self.groups, self.online, strict=True))
        ]

    @property
    def connected(self) -> set[str]:
        """Devices that acknowledge, or sent it themselves: they keep no mark."""
        return {person["device"] for some in (self.senders, *self.online) for person in some}


def shares(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` numbers that differ by one at most."""
    return [total // parts + (n < total % parts) for n in range(parts)]


def make(system: System, args: argparse.Namespace) -> People:
    """Everybody, in the database of a running system. A recipient is who is in a group and does not forward into it."""
    count = -(-args.recipients // (args.group - 1))
    senders = min(args.senders, count)
    online, late = shares(min(args.online, args.recipients - args.late), count), shares(args.late, count)
    at, slices = 0, {}
    for name, size in (
        ("senders", senders),
        ("online", sum(online)),
        ("late", args.late),
        ("pairs", 2 * args.pairs),
    ):
        slices[name] = slice(at, at + size)
        at += size
    pairs = slices["pairs"]
    made = system.make_people(at, [(n, n + 1) for n in range(pairs.start, pairs.stop, 2)])
    people = made["people"]
    for number, person in enumerate(people):
        person["url"] = system.url(number, "across")
    connected, later = iter(people[slices["online"]]), iter(people[slices["late"]])
    there = [[next(connected) for _ in range(size)] for size in online]
    away = [[next(later) for _ in range(size)] for size in late]
    groups = system.make_crowds(
        [
            {
                "users": [person["user"] for person in (people[n % senders], *there[n], *away[n])],
                "more": size - len(there[n]) - len(away[n]),
                "lane": None,
            }
            for n, size in enumerate(shares(args.recipients, count))
        ]
    )
    return People(
        groups,
        people[slices["senders"]],
        there,
        people[slices["late"]],
        _quiet(system, args, {lane_of(group) for group in groups}),
        [
            {"a": people[pairs.start + 2 * n], "b": people[pairs.start + 2 * n + 1], "conversation": id_}
            for n, id_ in enumerate(made["conversations"])
        ],
    )


def _quiet(system: System, args: argparse.Namespace, busy: set[int]) -> list[dict[str, Any]]:
    """Small groups, half of them in lanes that large ones use (kind ``same``), half in others, if there are any."""
    kinds = ("same", "other") if len(busy) < LANES else ("same",)
    lanes = {"same": sorted(busy), "other": sorted(set(range(LANES)) - busy)}
    chosen = [(kinds[n % len(kinds)], n // len(kinds)) for n in range(args.quiet)]
    size = args.quiet_members
    made = system.make_people(
        args.quiet * size,
        [],
        [list(range(n * size, (n + 1) * size)) for n in range(args.quiet)],
        lanes=[lanes[kind][n % len(lanes[kind])] for kind, n in chosen],
    )
    for number, person in enumerate(made["people"]):
        person["url"] = system.url(number, "across")
    return [
        {"kind": kind, "group": group, "people": made["people"][n * size : (n + 1) * size]}
        for n, ((kind, _), group) in enumerate(zip(chosen, made["groups"], strict=True))
    ]
