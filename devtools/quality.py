"""``test``, ``lint``, ``lock``: what a change has to pass, and where its dependencies are pinned."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field

from devtools import again, bootstrap, cassandra, npm, packages, s3proxy
from devtools.audit import WARNING
from devtools.errors import DevError
from devtools.paths import REPO, VENV_PYTHON

#: Each has servers and systems of its own: more than two want more memory and cores than a laptop has to spare.
_WORKERS = ["-n", "2", "--dist", "loadfile"]


#: What is not for ``./dev faults`` alone.
_SHORT = "not needs_cluster and not long"

#: Deadline of a test on Cassandra: on a busy machine a node and a keyspace of thirty tables may take two minutes of it.
_PATIENT_S = "600"


def _says_how_many(word: str) -> bool:
    """Whether an argument of pytest chooses the number of processes, or is about one test that somebody looks at."""
    return bool(
        re.match(
            r"-n(\d+|auto|logical|=.*)?$|--numprocesses|--dist\b|--pdb|--trace$|--co$|--collect-only|-s$",
            word,
        )
    )


def install(development: bool) -> int:
    """What ``up`` needs and, with ``development``, what tests and lint need."""
    bootstrap.ensure(development=development)
    return 0


def test(arguments: list[str]) -> int:
    """pytest on real servers, in two processes (``-n 0``: in one). Its summary is the last line. ``--all`` takes in those
    that need packages of the operating system, and forbids skipping. ``--store cassandra``: the tests of whole systems and
    of the engine, with their messages on Cassandra; those about PostgreSQL itself are skipped and say why.
    ``--hot cluster``: the tests that need hot state, with it on a Valkey Cluster; those about the connection to one node are
    skipped. ``--again N``: up to N tests that failed run once more, alone (:mod:`devtools.again`)."""
    bootstrap.ensure(development=True)
    everything = "--all" in arguments
    arguments = [word for word in arguments if word != "--all"]
    store, arguments = _choice("--store", ("postgres", "cassandra"), arguments)
    hot, arguments = _choice("--hot", ("node", "cluster"), arguments)
    limit, arguments = _choice("--again", tuple(map(str, range(6))), arguments)
    env = {**os.environ, "WHATSAPP_TEST_STORE": store, "WHATSAPP_TEST_HOT": hot}
    if everything:
        packages.ensure()
        cassandra.ensure(bootstrap.say)
        s3proxy.ensure(bootstrap.say)
        npm.ensure(bootstrap.say)
        env["WHATSAPP_TEST_ALL"] = "1"
        if not any(word.startswith("-m") for word in arguments):
            arguments = ["-m", _SHORT, *arguments]
    elif store == "cassandra" and not any(word.startswith("-m") for word in arguments):
        cassandra.ensure(bootstrap.say)
        print(
            "only tests of whole systems (marked needs_system) and of the engine (any_store), which keep their messages on "
            "Cassandra",
            flush=True,
        )
        arguments = [
            "-m",
            f"(needs_system or any_store) and not needs_packages and not needs_s3 and {_SHORT}",
            "--timeout",
            _PATIENT_S,
            *arguments,
        ]
    elif hot == "cluster" and not any(word.startswith("-m") for word in arguments):
        print("only tests that need hot state (marked needs_hot), which is on a Valkey Cluster", flush=True)
        arguments = [
            "-m",
            f"needs_hot and not needs_packages and not needs_cassandra and not needs_s3 and {_SHORT}",
            *arguments,
        ]
    elif not any(word.startswith("-m") for word in arguments):
        print(
            "leaving out tests that need packages of the operating system (marked needs_packages), or Cassandra or an S3 server, "
            "which need Java (needs_cassandra, needs_s3); ./dev test --all runs them",
            flush=True,
        )
        arguments = [
            "-m",
            f"not needs_packages and not needs_cassandra and not needs_s3 and {_SHORT}",
            *arguments,
        ]
    if not any(_says_how_many(word) for word in arguments):
        arguments = [*_WORKERS, *arguments]
    return again.run(arguments, env, int(limit))


def _choice(option: str, values: tuple[str, ...], arguments: list[str]) -> tuple[str, list[str]]:
    """The value of an option (the first of ``values`` if it is not there), and the other words. Raises :class:`DevError`."""
    for at, word in enumerate(arguments):
        if word == option or word.startswith(f"{option}="):
            value = word.partition("=")[2] or "".join(arguments[at + 1 : at + 2])
            if value not in values:
                raise DevError(f"say which: {' or '.join(f'{option} {one}' for one in values)}", code=2)
            return value, [*arguments[:at], *arguments[at + 1 + (word == option) :]]
    return values[0], arguments


@dataclass
class Check:
    """One part of lint: its name and its command, run with the interpreter of ``.venv``."""

    name: str
    arguments: list[str]
    env: dict[str, str] = field(default_factory=dict)


def _production() -> dict[str, str]:
    """An environment in which production starts, for what reads settings only."""
    return {
        "WHATSAPP_ENV": "production",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "TOKEN_KEYS": f"lint:{secrets.token_urlsafe(48)}",
        "FRANKING_KEYS": f"lint:{secrets.token_urlsafe(48)}",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "ALLOWED_HOSTS": "chat.example",
        "WEB_ORIGINS": "https://chat.example",
    }


CHECKS = (
    Check("ruff", ["-m", "ruff", "check", "--output-format", "concise", "."]),
    Check("format", ["-m", "ruff", "format", "--check", "--output-format", "concise", "."]),
    Check("mypy", ["-m", "mypy"]),
    Check("imports", ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]),
    Check("wire files", ["-m", "whatsapp.wire.generate", "--check"]),
    Check("migrations", ["manage.py", "makemigrations", "--check", "--dry-run"]),
    Check("migration locks", ["-m", "devtools.migration_locks"]),
    Check(
        "deployment",
        ["manage.py", "check", "--deploy", "--tag", "security", "--fail-level", "WARNING"],
        _production(),
    ),
    Check("audit", ["-m", "devtools.audit"]),
)


def lint() -> int:
    """Run every check, show what the failing ones said, end with one summary line."""
    bootstrap.ensure(development=True)
    env = {
        **os.environ,
        "WHATSAPP_ENV": "test",
        "WHATSAPP_DATA": str(REPO / ".cache" / "lint"),
        "PYTHONPATH": str(REPO),
    }
    failed, warned = [], []
    for check in CHECKS:
        started = time.monotonic()
        run = subprocess.run(
            [VENV_PYTHON, *check.arguments],
            cwd=REPO,
            env={**env, **check.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        words = {0: "ok    ", WARNING: "warn  "} if check.name == "audit" else {0: "ok    "}
        print(
            f"{words.get(run.returncode, 'FAILED')}  {check.name:11} {time.monotonic() - started:5.1f} s",
            flush=True,
        )
        if run.returncode:
            (warned if run.returncode in words else failed).append(check.name)
            print("\n".join("        " + line for line in run.stdout.strip().splitlines()), flush=True)
    if failed:
        print(f"lint: {', '.join(failed)} failed")
    elif warned:
        print(f"lint: all {len(CHECKS)} checks passed, but {', '.join(warned)} warned")
    else:
        print(f"lint: all {len(CHECKS)} checks passed")
    return 1 if failed else 0


def lock(upgrade: bool) -> int:
    """Make requirements.txt and requirements-dev.txt from their .in files, with hashes and without naming any index."""
    bootstrap.ensure(development=True)
    env = {**os.environ, "CUSTOM_COMPILE_COMMAND": "./dev lock"}
    env.pop("PIP_FIND_LINKS", None)  # pins come from the package index alone
    options = [
        "--quiet", "--generate-hashes", "--strip-extras", "--allow-unsafe", "--no-emit-index-url", "--no-emit-trusted-host",
        "--no-emit-find-links", "--no-emit-options", *(["--upgrade"] if upgrade else []),
    ]  # fmt: skip
    for name in ("requirements", "requirements-dev"):
        print(f"pinning {name}.in", file=sys.stderr, flush=True)
        run = subprocess.run(
            [VENV_PYTHON, "-m", "piptools", "compile", *options, "--output-file", f"{name}.txt", f"{name}.in"],
            cwd=REPO, env=env, check=False,
        )  # fmt: skip
        if run.returncode:
            raise DevError(f"{name}.in could not be resolved")
    return 0
