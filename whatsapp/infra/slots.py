"""Where a key is in a Valkey Cluster: hash slots, who serves them, and what a node says about that.

A key's slot is the CRC16 of the part in the first ``{…}``, or of all of it (Valkey Cluster specification, "Key distribution
model"). Every key of ours that belongs to a user, a conversation, a lane or a process has it as its tag, so whatever one
command or one script touches is in one slot.
"""

from __future__ import annotations

import copy
from binascii import crc_hqx
from collections.abc import Iterable
from typing import Any, NamedTuple

from whatsapp.infra.valkey import Address, BadUrl, Command

SLOTS = 16_384
_SCHEMES = {"cluster": "redis", "clusters": "rediss"}

#: (host, port) of a node.
Place = tuple[str, int]


def is_cluster(url: str) -> bool:
    """Whether a URL is ``cluster[s]://[user:password@]host:port[,host:port…]``."""
    return url.partition("://")[0] in _SCHEMES


def seeds(url: str) -> list[Address]:
    """The nodes that a ``cluster://`` URL names; any one that answers tells the rest. Raises :class:`BadUrl`."""
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        raise BadUrl("it is no cluster:// address")
    login, at, hosts = rest.strip("/").rpartition("@")
    return [Address(f"{_SCHEMES[scheme]}://{login}{at}{host}") for host in hosts.split(",")]


def at(address: Address, place: Place) -> Address:
    """The same credentials for another node."""
    other = copy.copy(address)
    other.host, other.port = place
    return other


def slot_of_key(key: str | bytes) -> int:
    raw = key if isinstance(key, bytes) else key.encode()
    start = raw.find(b"{")
    if start >= 0:
        end = raw.find(b"}", start + 1)
        if end > start + 1:
            raw = raw[start + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


def slot_of(command: Command) -> int:
    """The slot of a command's first key; all of its keys must be there."""
    name = command[0]
    if name in ("EVALSHA", "EVAL"):
        return slot_of_key(command[3])
    if name == "XREAD":
        return slot_of_key(command[command.index("STREAMS") + 1])
    return slot_of_key(command[1])


class Owner(NamedTuple):
    """A master with slots, by what some node says. ``epoch``: of its claim; of two claims the higher one holds."""

    place: Place
    epoch: int
    ranges: tuple[tuple[int, int], ...]  # first and last slot


def parse_nodes(text: bytes | str, asked: Place) -> list[Owner]:
    """Masters with slots from the text of ``CLUSTER NODES``; ``asked`` is who said so, for a node that does not know its own
    address yet."""
    found = []
    for line in (text.decode() if isinstance(text, bytes) else text).splitlines():
        words = line.split()
        if len(words) < 9 or "master" not in words[2] or "noaddr" in words[2]:
            continue
        host, _, port = words[1].partition("@")[0].rpartition(":")
        ranges = []
        for part in words[8:]:
            if not part.startswith("["):  # a slot on its way is still its old owner's
                first, _, last = part.partition("-")
                ranges.append((int(first), int(last or first)))
        if ranges:
            found.append(Owner((host or asked[0], int(port)), int(words[6]), tuple(ranges)))
    return found


class Table:
    """Who serves each slot, by the highest claim heard of: an old master that knows no better must not bring us back."""

    def __init__(self) -> None:
        self.owners: list[Place | None] = [None] * SLOTS
        self._claims = [-1] * SLOTS
        self._last: dict[Place, list[Owner]] = {}  # what each node said last

    @property
    def places(self) -> set[Place]:
        return {place for place in self.owners if place is not None}

    @property
    def whole(self) -> bool:
        return None not in self.owners

    def forget(self) -> None:
        """All of it may be wrong: the next view is believed whatever it says."""
        self._claims = [-1] * SLOTS
        self._last.clear()

    def merge(self, view: Iterable[Owner], asked: Place) -> list[int]:
        """Take a view in; returns the slots that have another owner now."""
        view = list(view)
        if self._last.get(asked) == view:
            return []
        self._last[asked] = view
        changed = []
        owners, claims = self.owners, self._claims
        for owner in view:
            for first, last in owner.ranges:
                for slot in range(first, last + 1):
                    if owner.epoch > claims[slot]:
                        claims[slot] = owner.epoch
                        if owners[slot] != owner.place:
                            owners[slot] = owner.place
                            changed.append(slot)
        return changed


def redirect(error: Any) -> tuple[str, int, Place] | None:
    """(``MOVED`` or ``ASK``, slot, where to) of an error reply; None for any other."""
    words = str(error).split()
    if len(words) == 3 and words[0] in ("MOVED", "ASK"):
        host, _, port = words[2].rpartition(":")
        return words[0], int(words[1]), (host, int(port))
    return None
