"""Finding a Java that Cassandra 5.0 runs on (11 or 17), or saying what is missing."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from devtools import packages
from devtools.errors import DevError

VERSIONS = (17, 11)
PACKAGE = packages.Package(
    "openjdk-17-jre-headless",
    f"/usr/lib/jvm/java-17-openjdk-{packages.ARCHITECTURE}/bin/java",
    "Java, which Cassandra runs on",
)
#: Parts of Java that Cassandra and its tools reach into (``jvm17-server.options`` of its distribution).
_EXPORTS = (
    "java.base/jdk.internal.misc java.base/java.lang.ref java.management.rmi/com.sun.jmx.remote.internal.rmi "
    "java.rmi/sun.rmi.registry java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc "
    "jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach java.management/com.sun.jmx.remote.security"
)
_OPENS = (
    "java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect "
    "java.base/jdk.internal.math java.base/jdk.internal.module java.base/jdk.internal.util.jar java.base/sun.nio.ch "
    "java.base/java.io java.base/java.lang.reflect java.base/java.lang java.base/java.util java.base/java.nio "
    "java.base/java.util.concurrent java.base/java.util.concurrent.atomic jdk.management/com.sun.management.internal "
    "jdk.compiler/com.sun.tools.javac"
)


def access() -> list[str]:
    """Options without which neither starts."""
    return [
        *(f"--add-exports={one}=ALL-UNNAMED" for one in _EXPORTS.split()),
        *(f"--add-opens={one}=ALL-UNNAMED" for one in _OPENS.split()),
    ]


@functools.cache
def program() -> Path:
    """A ``java`` of a version in :data:`VERSIONS`: JAVA_HOME's, the one on PATH, else one that the system has beside it.

    Installs Debian's package when there is none and we are root there. Raises :class:`DevError` that says what to type.
    """
    seen: list[str] = []
    found = _find(seen)
    if found is None:
        others = f" (found: Java {', '.join(seen)})" if seen else ""
        packages.ensure((PACKAGE,), f"Cassandra needs Java {' or '.join(map(str, VERSIONS))}{others}, and so")
        found = _find(seen)
    if found is None:
        raise DevError(f"there is no Java {' or '.join(map(str, VERSIONS))}: set JAVA_HOME to one")
    return found


def _find(seen: list[str]) -> Path | None:
    home, path = os.environ.get("JAVA_HOME"), shutil.which("java")
    candidates = [Path(home) / "bin" / "java"] if home else []
    candidates += [Path(path)] if path else []
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    for java in candidates:
        known = version(java)
        if known in VERSIONS:
            return java.resolve()
        if known and str(known) not in seen:
            seen.append(str(known))
    return None


def version(java: Path) -> int | None:
    """The feature version (17), from the file ``release`` beside it or by asking the program; None: it does not run."""
    try:
        text = (java.resolve().parent.parent / "release").read_text()
    except OSError:
        try:
            run = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return None
        text = run.stderr
    found = re.search(r'(?:JAVA_VERSION=|version )"(?:1\.)?(\d+)', text)
    return int(found[1]) if found else None
