"""What a live page asks the gateways, and what one of them answers. Plain data: it crosses processes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

PER_PAGE: Final = 50
#: Beyond, one searches: a gateway would have to send everything before the page.
MAX_PAGES: Final = 10


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """The newest ``limit`` sessions, of one gateway or all, of one user or all."""

    channel: str  # of the layer ``admin``
    number: int  # the consumer's own count; an answer to an earlier one is dropped
    limit: int
    user: str = ""
    gateway: str = ""


class Row(NamedTuple):
    gateway: str
    user: str
    device: str
    codec: str
    version: str
    state: str
    since: int  # ms


def as_dict(row: Row) -> dict[str, Any]:
    return row._asdict()
