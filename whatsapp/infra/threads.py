"""Names of threads that ``top -H``, ``ps -L`` and the benches see too; Python keeps ``Thread.name`` to itself until 3.14."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

_PR_SET_NAME = 15  # prctl(2)
_LONGEST = 15  # bytes the kernel keeps


def shown(run: Callable[..., Any]) -> Callable[..., Any]:
    """The target of a thread, which first tells the kernel the thread's name."""

    @wraps(run)
    def named(*args: Any, **kwargs: Any) -> Any:
        name = threading.current_thread().name.encode()[:_LONGEST]
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NAME, name, 0, 0, 0)
        return run(*args, **kwargs)

    return named
