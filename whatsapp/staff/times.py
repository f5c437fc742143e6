"""Times, sizes and numbers for people. All times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from whatsapp.infra.clock import now_ms

NONE = "—"


def shown(ms: int | None) -> str:
    """A time (ms), to the second; a dash for none."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ms else NONE


def at(ms: int | None) -> str:
    """The same with its zone, where it stands alone."""
    return f"{shown(ms)} UTC" if ms else NONE


def span(ms: float) -> str:
    """How long, in its two largest units: "850 ms", "12 s", "3 min 20 s", "2 h 5 min", "4 d 3 h"."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = int(ms // 1000)
    if seconds < 60:
        return f"{ms / 1000:.1f} s" if seconds < 10 else f"{seconds} s"
    for small, small_name, large, large_name in (
        (1, "s", 60, "min"),
        (60, "min", 3600, "h"),
        (3600, "h", 86_400, "d"),
    ):
        if seconds < large * (60 if large < 3600 else 24 if large < 86_400 else 10**9):
            first, rest = divmod(seconds, large)
            second = rest // small
            return f"{first} {large_name} {second} {small_name}" if second else f"{first} {large_name}"
    raise AssertionError("unreachable")


def ago(ms: int | None, now: int | None = None) -> str:
    """Relative to now: "3 min ago", "now" within a second, "in 5 min"; a dash for none."""
    if not ms:
        return NONE
    passed = (now if now is not None else now_ms()) - ms
    if abs(passed) < 1_000:
        return "now"
    return f"{span(passed)} ago" if passed >= 0 else f"in {span(-passed)}"


def when(ms: int | None) -> SafeString | str:
    """Relative, with the exact time in the tooltip."""
    return (
        format_html('<span class="staff-nowrap" title="{} UTC">{}</span>', shown(ms), ago(ms)) if ms else NONE
    )


def size(number: float | None) -> str:
    """Bytes, in binary units."""
    if number is None:
        return NONE
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
