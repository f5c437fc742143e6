"""Servers that the user runs: ``DATABASE_URL``, ``HOT_URL``, ``BROKER_URL``, ``CACHE_URL`` in the environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from urllib.parse import urlsplit

from devtools.environment import URL_VARIABLES
from devtools.errors import DevError
from devtools.paths import REPO, VENV_PYTHON

_SCHEMES = {
    "DATABASE_URL": ("postgresql", "postgres"),
    "HOT_URL": ("redis", "rediss", "valkey", "valkeys", "unix", "cluster", "clusters"),
    "BROKER_URL": ("redis", "rediss", "sentinel", "amqp", "amqps", "unix"),
    "CACHE_URL": ("redis", "rediss", "unix"),
}


def chosen(caller: Mapping[str, str]) -> dict[str, str]:
    """The URLs that the caller has set; those parts are not started here."""
    return {name: caller[name] for name in URL_VARIABLES if caller.get(name)}


def check(urls: Mapping[str, str]) -> None:
    """Raise :class:`DevError` with one sentence for each URL that is malformed or whose server does not take us."""
    problems = [problem for name, url in urls.items() if (problem := _malformed(name, url))]
    if urls and not problems:
        run = subprocess.run(
            [VENV_PYTHON, "-m", "devtools.probe"], cwd=REPO, input=json.dumps(dict(urls)), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if run.returncode:
            raise DevError(f"the external servers could not be tried: {run.stderr.strip()[-500:]}")
        reasons: dict[str, str] = json.loads(run.stdout)
        problems = [
            f"{name}: the server at {address(urls[name])} cannot be used: {reason}"
            for name, reason in reasons.items()
        ]
    if problems:
        raise DevError("\n".join(problems))


def address(url: str) -> str:
    """The URL without its user and password, for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _malformed(name: str, url: str) -> str | None:
    if "://" in url and "," in url:  # nodes of a cluster: each must be one
        scheme, _, rest = url.partition("://")
        login, at, hosts = rest.rpartition("@")
        problems = [_malformed(name, f"{scheme}://{login}{at}{host}") for host in hosts.split(",")]
        return next((problem for problem in problems if problem), None)
    try:
        parts = urlsplit(url)
        if (
            name == "DATABASE_URL" and "," in parts.netloc
        ):  # several servers, of which one takes writes: libpq reads it
            return None if parts.scheme in _SCHEMES[name] else f"{name} must be a {_SCHEMES[name][0]}:// URL"
        port_is_number = parts.port is None or parts.port > 0
    except ValueError as error:
        return f"{name} is not a URL: {error}"
    if parts.scheme not in _SCHEMES[name]:
        return f"{name} must be a {_SCHEMES[name][0]}:// URL; its scheme is {parts.scheme or 'missing'!r}"
    if not (parts.hostname or parts.scheme == "unix") or not port_is_number:
        return f"{name} names no server: {address(url)}"
    return None
