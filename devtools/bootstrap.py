"""Making ``.venv`` and installing the pinned requirements, on a machine that may have little more than Python and git."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devtools.errors import DevError
from devtools.paths import REPO, VENV, VENV_PYTHON

RUNTIME = REPO / "requirements.txt"
DEVELOPMENT = REPO / "requirements-dev.txt"
OLDEST_PYTHON = (3, 11)


def ensure(*, development: bool = False) -> None:
    """Install what is missing. Instant if nothing is: a stamp in ``.venv`` keeps the hash of what was installed.

    pip reads its own configuration and the environment (PIP_*, proxies, certificates). Raises :class:`DevError`.
    """
    files = [RUNTIME, DEVELOPMENT] if development else [RUNTIME]
    if all(_stamp(file).exists() for file in files):
        return
    with _lock():
        if not _venv_works():
            _make_venv()
        for file in files:
            if not _stamp(file).exists():
                _install(file)


def _stamp(file: Path) -> Path:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:20]
    return VENV / f".installed-{file.stem}-{digest}"


@contextmanager
def _lock() -> Iterator[None]:
    """One installation at a time in this checkout."""
    folder = REPO / ".cache"
    try:
        folder.mkdir(exist_ok=True)
        lock = (folder / "install.lock").open("w")
    except OSError as error:
        raise DevError(f"nothing can be installed: {REPO} cannot be written to ({error.strerror})") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _venv_works() -> bool:
    """Whether ``.venv`` has an interpreter that runs and has pip (a system upgrade or a moved checkout break it)."""
    if not VENV_PYTHON.exists():
        return False
    run = subprocess.run([VENV_PYTHON, "-c", "import pip"], capture_output=True, check=False)
    return run.returncode == 0


def _make_venv() -> None:
    if sys.version_info < OLDEST_PYTHON:
        raise DevError(
            f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed; {sys.executable} is {sys.version.split()[0]}"
        )
    _need_ensurepip()
    say(f"making {VENV.relative_to(REPO)} with Python {sys.version.split()[0]}")
    run = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise DevError(f"{sys.executable} -m venv failed: {(run.stderr or run.stdout).strip()}")


def _need_ensurepip() -> None:
    """Debian leaves ensurepip out of python3; its package is python3-venv."""
    if _can_import("ensurepip"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise DevError(
            "Python's venv module is not installed; run: sudo apt-get install python3-venv   (then this command again)"
        )
    say("python3-venv is missing: installing it with apt-get")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", "python3-venv"]
    for command in (install, ["apt-get", "update", "-q"], install):
        run = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if command is install and run.returncode == 0 and _can_import("ensurepip"):
            return
    raise DevError(f"apt-get could not install python3-venv: {_last_line(run.stderr or run.stdout)}")


def _can_import(module: str) -> bool:
    return (
        subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, check=False
        ).returncode
        == 0
    )


def _install(file: Path) -> None:
    count = sum(
        1 for line in file.read_text().splitlines() if "==" in line and not line.lstrip().startswith("#")
    )
    say(f"installing {count} packages of {file.name}, each checked against its hash")
    started = time.monotonic()
    run = subprocess.run(
        [
            VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
            "--require-hashes", "--no-deps", "--requirement", file,
        ],
        cwd=REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        raise DevError(f"pip could not install {file.name}:\n{run.stdout.strip()[-2000:]}")
    for old in VENV.glob(f".installed-{file.stem}-*"):
        old.unlink()
    _stamp(file).touch()
    say(f"installed in {time.monotonic() - started:.1f} s")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def say(text: str) -> None:
    """A line of progress, on stderr: stdout belongs to the command's result."""
    print(text, file=sys.stderr, flush=True)
