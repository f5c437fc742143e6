"""``manage.py`` as an operator of a running system calls it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from devtools.paths import REPO


def manage(
    system: Any, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPO,
        env={**system.env, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


async def managed(system: Any, *arguments: str, env: dict[str, str] | None = None) -> str:
    """What it prints; it must succeed."""
    done = await asyncio.to_thread(manage, system, *arguments, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout
