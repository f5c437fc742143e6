"""Cassandra's ``nodetool`` for nodes of ours, without its shell script: behind a password, on the loopback address alone.

What it asks over (JMX) runs whatever it is told, so a node never opens it without a password.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from devtools import java
from devtools.errors import DevError

USER = "whatsapp"


def options(folder: Path, port: int) -> dict[str, str]:
    """Properties of a node that lets ``nodetool`` in on this port of 127.0.0.1."""
    return {
        "cassandra.jmx.local.port": str(port),
        "com.sun.management.jmxremote.authenticate": "true",
        "com.sun.management.jmxremote.password.file": str(folder / "jmx.password"),
        "com.sun.management.jmxremote.access.file": str(folder / "jmx.access"),
    }


def write(folder: Path, port: int, password: str) -> None:
    """The files that :func:`options` and :func:`command` name. The node replaces the password in its own by a hash."""
    for name, text in (
        ("jmx.password", f"{USER} {password}\n"),
        ("jmx.access", f"{USER} readwrite\n"),
        ("nodetool.password", f"{USER} {password}\n"),
        ("nodetool.port", f"{port}\n"),
    ):
        file = folder / name
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(text)


def command(jars: Sequence[Path], folder: Path, words: Sequence[str]) -> list[str]:
    """``nodetool WORDS`` for the node whose folder this is. Raises :class:`DevError` if it has no door for it."""
    try:
        port = (folder / "nodetool.port").read_text().strip()
    except OSError:
        raise DevError(f"the node in {folder} was not started for nodetool") from None
    return [
        str(java.program()),
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx128m",
        *java.access(),
        f"-Duser.home={folder / 'tmp'}",  # where it keeps a history
        f"-Dlogback.configurationFile={folder / 'logback-tools.xml'}",
        "-cp",
        ":".join(map(str, jars)),
        "org.apache.cassandra.tools.NodeTool",
        "-h", "127.0.0.1", "-p", port, "-u", USER, "-pwf", str(folder / "nodetool.password"),
        *words,
    ]  # fmt: skip


def run(jars: Sequence[Path], folder: Path, words: Sequence[str], timeout: float) -> str:
    """What it printed. Raises :class:`DevError` with that when it failed or did not end."""
    try:
        done = subprocess.run(
            command(jars, folder, words), capture_output=True, text=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise DevError(f"nodetool {' '.join(words)} did not end within {timeout:.0f} s") from None
    if done.returncode:
        raise DevError(f"nodetool {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
