"""What a figure was measured on: without it the figure says nothing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.disk import filesystem
from bench.stack import System
from devtools.paths import REPO

_PACKAGES = (
    "django",
    "channels",
    "uvicorn",
    "uvloop",
    "websockets",
    "msgspec",
    "protobuf",
    "psycopg",
    "hiredis",
    "celery",
)


def machine(folder: Path) -> dict[str, Any]:
    """Processor, cores, memory, kernel, and what holds the data folder."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        "?",
    )
    memory = next(
        (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**20, 1),
        "kernel": platform.release(),
        "disk": filesystem(folder),
    }


def load_average() -> float:
    """Of the last minute: what else ran here."""
    return os.getloadavg()[0]


def versions(system: System) -> dict[str, str]:
    """Of everything that takes part, and the commit that was measured."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "postgresql": system.sql("SHOW server_version"),
        "valkey": str(_valkey_info(system).get("valkey_version", "?")),
        **{name: version(name) for name in _PACKAGES},
    }


def commit() -> str:
    """Of the code here, and whether it was changed since."""
    changed = " with uncommitted changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return (_git("rev-parse", "--short", "HEAD") or "?") + changed


def protections(system: System) -> dict[str, Any]:
    """What the servers themselves say about durability, and which limits were in force."""
    limits = json.loads(system.stack.env["WHATSAPP_LIMITS"])
    return {
        "fsync": system.sql("SHOW fsync"),
        "synchronous_commit": system.sql("SHOW synchronous_commit"),
        "valkey_aof": "on" if str(_valkey_info(system).get("aof_enabled")) == "1" else "off",
        "authentication": "access token, device and ban checked at every connect",
        "seq_num": "on every send, enforced",
        "messages_per_minute": limits["messages_per_minute"],
        "frames_per_second": limits["frames_per_second"],
    }


def _valkey_info(system: System) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(system.valkey("INFO"))
    return found


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=REPO, capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else ""
