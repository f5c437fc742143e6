"""How far apart things are that cost far more than what they are done for: statements with one row each."""

from __future__ import annotations


class Spacing:
    """What is to happen at most once in ``every_s`` seconds for long, and ``burst`` times more at once (GCRA, as
    :class:`whatsapp.infra.limits.Rate`). What comes alone waits for nothing; what gathers under load shares the cost."""

    __slots__ = ("_burst", "_tat", "every_s")

    def __init__(self, every_s: float, burst: int) -> None:
        self.every_s = every_s
        self._burst = burst
        self._tat = 0.0

    def wait(self, now: float) -> float:
        """It happens now (0), or after so many seconds; it is counted either way."""
        tat = max(self._tat, now)
        self._tat = tat + self.every_s
        return max(0.0, tat - now - self._burst * self.every_s)


BURST = 8


def spacing(every_ms: int) -> Spacing | None:
    """What comes alone, or a handful at a time, does not wait: :data:`BURST`. 0: nothing ever waits."""
    return Spacing(every_ms / 1000, BURST) if every_ms else None
