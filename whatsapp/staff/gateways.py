"""Which gateways there are and how they are: each writes a line about itself to the hot node every few seconds.

``staff:gateways`` is a hash process → JSON. A reader takes what is fresh; nothing on the message path reads or writes it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.conf import settings

from whatsapp.infra import hot_sync
from whatsapp.infra.clock import now_ms

KEY: Final = "staff:gateways"
EVERY_S: Final = 5.0
FRESH_MS: Final = 15_000
#: After this a line is removed by the next gateway that writes: the process is long gone.
FORGET_MS: Final = 600_000
KEY_TTL_S: Final = 3_600
#: Far more than anybody runs; a page lists no more.
MAX_SHOWN: Final = 200


class Report(msgspec.Struct, kw_only=True, frozen=True):
    """One gateway about itself. Times in ms."""

    name: str
    process: str  # this incarnation
    host: str
    pid: int
    started_at: int
    at: int
    sockets: int
    sessions: int
    messages_per_minute: int
    draining: bool
    hot: bool  # it reaches the hot node and is registered there

    @property
    def state(self) -> str:
        if now_ms() - self.at > FRESH_MS:
            return "gone"
        return "draining" if self.draining else "ready" if self.hot else "degraded"


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Report).decode


def is_forgotten(line: bytes) -> bool:
    """Whether a line is so old, or so odd, that it should go."""
    try:
        return now_ms() - _decode(line).at >= FORGET_MS
    except msgspec.DecodeError:
        return True


def hot_client() -> Any:
    """A blocking client for pages; each call waits at most a second."""
    return hot_sync.client(settings.HOT_URL, socket_timeout=1, socket_connect_timeout=1)


def parse(lines: Any) -> list[Report]:
    """What ``HGETALL`` gave: a dict or a flat list, by the client that asked."""
    values = lines.values() if isinstance(lines, dict) else lines[1::2]
    reports = []
    for line in values:
        try:
            reports.append(_decode(line))
        except msgspec.DecodeError:
            continue
    return reports


def living(lines: Any) -> list[Report]:
    return [report for report in parse(lines) if report.state != "gone"][:MAX_SHOWN]


def read(client: Any) -> list[Report]:
    """All gateways that were heard of in the last ten minutes, by name. Raises redis' errors."""
    now = now_ms()
    reports = [report for report in parse(client.hgetall(KEY)) if now - report.at < FORGET_MS]
    # A gateway that was started again has two lines: the older one says nothing any more.
    newest: dict[tuple[str, str], Report] = {}
    for report in sorted(reports, key=lambda report: report.at):
        newest[report.host, report.name] = report
    return sorted(newest.values(), key=lambda report: (report.host, report.name))[:MAX_SHOWN]
