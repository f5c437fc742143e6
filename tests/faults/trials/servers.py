"""Faults of what servers keep: old data, full disks, a second beat."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from devtools.processes import Child
from tests.faults.trials.field import Field
from tests.support.patience import until
from tests.support.stack import System


def broker(system: System) -> Any:
    """A connection with what Celery's tasks wait in."""
    return redis.Redis.from_url(system.env["BROKER_URL"], socket_timeout=5)


async def two_beats(field: Field) -> None:
    """A second beat beside the first."""
    spec = field.system.stack.children["beat"].spec
    env = {name: value for name, value in spec.env.items() if name != "WHATSAPP_METRICS_PORT"}
    second = Child(replace(spec, name="beat-2", env=env, log=spec.log.with_name("beat-2.log")))
    await asyncio.to_thread(second.start)
    try:
        await field.hold()
        assert second.pid is not None, second.tail()
    finally:
        await asyncio.to_thread(second.stop)


async def stale_valkey(field: Field) -> None:
    """Valkey comes back with what it knew some seconds before, as from a backup."""
    folder = field.system.hot_folder
    backup = folder.with_name("valkey-old")
    await asyncio.to_thread(shutil.copytree, folder, backup)
    try:
        await field.crowd.go_on(40, "after the backup")
        field.system.kill("valkey")
        await asyncio.to_thread(_replace, folder, backup)
        await field.run("valkey")
    finally:
        shutil.rmtree(backup, ignore_errors=True)


def _replace(folder: Path, by: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(by, folder)


# full disks


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """``folder`` with what is in it on a disk of so many MB. Needs the right to mount."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder.with_name(folder.name + ".kept")
    folder.rename(kept)
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        check=True,
        capture_output=True,
    )
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        shutil.rmtree(kept)


def fill(folder: Path) -> Path:
    """Write until nothing more goes onto the disk; the file that takes the room."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(65_536))
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(512))
    return ballast


def disk_of(system: System, part: str) -> Path:
    """The data folder of ``postgres`` or ``valkey``."""
    if part == "valkey":
        return system.hot_folder
    assert system.stack.postgres is not None
    return system.stack.postgres.folder


async def _full(field: Field, part: str) -> None:
    folder = disk_of(field.system, part)
    ballast = await asyncio.to_thread(fill, folder)
    try:
        await field.hold()
    finally:
        os.unlink(ballast)


async def full_postgres(field: Field) -> None:
    """No room for the log: PostgreSQL panics as soon as it needs some, and cannot start until there is."""
    await _full(field, "postgres")
    if field.system.processes["postgres"] is None:
        await field.run("postgres")


async def full_valkey(field: Field) -> None:
    """No room for its file: Valkey refuses to write until there is."""
    await _full(field, "valkey")

    def writes() -> bool:
        try:
            return bool(field.rig.hot.set("trial", "1", px=1))
        except redis.RedisError:
            return False

    await until(writes, "Valkey takes writes again", 60)
