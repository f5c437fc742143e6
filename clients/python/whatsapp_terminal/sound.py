"""How long a voice note is, and how loud when, as far as its file says so without being decoded.

Ogg pages (RFC 3533) say where they are in the sound (RFC 7845: in 1/48,000 s); of Opus, whose packets are larger where there is
more to hear, their sizes draw the waveform."""

from __future__ import annotations

from dataclasses import dataclass

RATE = 48_000
BARS = 32
MOST_MS = 24 * 3_600_000
_LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Sound:
    """``bars``: 0 to 100, empty where nothing is known."""

    duration_ms: int = 0
    bars: tuple[int, ...] = ()


def look(data: bytes) -> Sound | None:
    """None for what is no Ogg Opus."""
    at, pages, last, skipped = 0, 0, 0, 0
    sizes: list[int] = []
    while data[at : at + 4] == b"OggS" and len(data) >= at + 27:
        position, count = int.from_bytes(data[at + 6 : at + 14], "little"), data[at + 26]
        table = data[at + 27 : at + 27 + count]
        body = at + 27 + count
        if pages == 0:
            if data[body : body + 8] != b"OpusHead":
                return None
            skipped = int.from_bytes(data[body + 10 : body + 12], "little")
        elif pages > 1:
            if position < 2**63:  # all ones: no packet ends here
                last = max(last, position)
            sizes += table
        at, pages = body + sum(table), pages + 1
    if pages < 3:
        return None
    return Sound(min(MOST_MS, max(0, last - skipped) * 1_000 // RATE), bars(sizes))


def bars(levels: list[int] | bytes, count: int = BARS) -> tuple[int, ...]:
    """Means of the parts, against the loudest."""
    if not levels:
        return ()
    means = []
    for bar in range(count):
        start = bar * len(levels) // count
        part = levels[start : max(start + 1, (bar + 1) * len(levels) // count)]
        means.append(sum(part) / len(part))
    loudest = max(means)
    return tuple(round(100 * mean / loudest) if loudest else 0 for mean in means)


def drawn(sound: Sound) -> str:
    """A row of blocks."""
    return "".join(_LEVELS[1 + max(0, min(100, bar)) * 7 // 100] for bar in sound.bars[:BARS])


def length_words(duration_ms: int) -> str:
    """``1:05``."""
    seconds = round(duration_ms / 1_000)
    hours, rest = divmod(seconds, 3_600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
