"""What tools do, in figures: how each run ended, and the processor time that it took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from media.tools.reasons import Busy, Late, Missing, Refused
from whatsapp.infra import metrics


@dataclass(slots=True)
class Bill:
    """Seconds of a processor, where the kernel told them; ``killed``: by somebody else, the kernel without memory for one."""

    cpu_s: float = 0.0
    killed: bool = False


@contextmanager
def counted(tool: str) -> Iterator[Bill]:
    """Count a run of ``tool``. An outcome is ``done``, the reason of a refusal, ``late``, ``killed``, ``busy``, ``missing``, or
    ``given_up`` when who wanted it did not want it any more."""
    bill, outcome = Bill(), "given_up"
    try:
        yield bill
        outcome = "done"
    except Refused as error:
        outcome = str(error.reason)
        raise
    except Late:
        outcome = "late"
        raise
    except Busy:
        outcome = "killed" if bill.killed else "busy"
        raise
    except Missing:
        outcome = "missing"
        raise
    finally:
        metrics.MEDIA_TOOLS.add(tool, outcome)
        metrics.MEDIA_TOOLS_CPU.add(tool, number=bill.cpu_s)
