"""Packages of the operating system that some tests need (marked ``needs_packages``). ``./dev test --all`` installs what is
missing when it is root on Debian or Ubuntu, and says what is missing otherwise. ``./dev up`` needs none of them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from devtools.errors import DevError

#: Downloads on a slow line; dpkg's lock held by an unattended upgrade.
_PATIENCE_S = 1_200
_APT = ["apt-get", "-q", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]


class Package(NamedTuple):
    name: str
    proof: str  # a file that it brings
    why: str


#: Debian's name of this machine's architecture.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

NEEDED = (
    Package("chromium", "/usr/bin/chromium", "the browser that opens the pages of the admin and of the API"),
    Package("firefox-esr", "/usr/bin/firefox-esr", "the browser that notifications are pushed to"),
    Package(
        "fonts-dejavu-core",
        "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf",
        "letters for what the pages' own fonts do not have",
    ),
    Package("pgbouncer", "/usr/sbin/pgbouncer", "the pooler between the system and PostgreSQL"),
    Package(
        "libatomic1",
        f"/usr/lib/{platform.machine()}-linux-gnu/libatomic.so.1",
        "what drives the browser is linked against it",
    ),
    Package("haproxy", "/usr/sbin/haproxy", "the balancer that docker/haproxy.cfg is for"),
    Package("prometheus", "/usr/bin/promtool", "what tries the alerts of docker/prometheus"),
    Package("clamav-daemon", "/usr/sbin/clamd", "the scanner that media are shown to"),
    Package("ffmpeg", "/usr/bin/ffmpeg", "what makes videos and voice notes anew"),
    Package(
        "libreoffice-writer-nogui",
        "/usr/lib/libreoffice/program/libswlo.so",
        "what draws the first page of a text document",
    ),
    Package("spin", "/usr/bin/spin", "the model checker for delivery/model"),
    Package("tcc", "/usr/bin/tcc", "it compiles what the model checker writes, in a moment"),
    Package("gcc", "/usr/bin/gcc", "and it, when the search takes longer"),
    Package("libc6-dev", "/usr/include/stdio.h", "what that includes"),
)


def missing(needed: Sequence[Package] | None = None) -> list[Package]:
    return [package for package in (NEEDED if needed is None else needed) if not Path(package.proof).exists()]


def ensure(needed: Sequence[Package] | None = None, who: str = "test --all") -> None:
    """Make sure that all of them are there; ``who`` begins the sentence that says they are needed. Raises :class:`DevError`
    that names what is not there, and what to type."""
    wanted = missing(needed)
    if not wanted:
        return
    names = [package.name for package in wanted]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        reasons = "".join(f"\n  {package.name:20} {package.why}" for package in wanted)
        raise DevError(
            f"{who} needs packages of the operating system that are not installed:{reasons}\n"
            f"run: sudo apt-get install --no-install-recommends {' '.join(names)}   (then this command again)"
        )
    print(f"installing {', '.join(names)} with apt-get", file=sys.stderr, flush=True)
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *names]):
        _apt(arguments)
    left = missing(needed)
    if left:
        raise DevError(
            "apt-get has installed "
            + ", ".join(f"{package.name}, but there is no {package.proof}" for package in left)
        )


def _apt(arguments: list[str]) -> None:
    try:
        run = subprocess.run(
            [*_APT, *arguments],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DevError(f"apt-get {arguments[0]} took more than {_PATIENCE_S} s") from None
    if run.returncode:
        said = (run.stderr or run.stdout).strip().splitlines()
        raise DevError(
            f"apt-get {arguments[0]} failed: {said[-1] if said else f'exit code {run.returncode}'}"
        )
