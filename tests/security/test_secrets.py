"""Secrets come from the environment and go nowhere else: not into the repository, arguments, logs or answers."""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from devtools.paths import REPO
from tests.security.test_headers import HOST_LINE, ask
from tests.security.wire import request
from tests.support.stack import System
from whatsapp.infra.valkey import Address, BadUrl

# -- the repository ----------------------------------------------------------------------------------------------------------

#: What keys of known kinds look like.
_KINDS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"),
    "a cloud key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of a code host": re.compile(
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|glpat-[\w-]{20}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50})"
    ),
    "a key of a payment or mail service": re.compile(
        r"\b(?:sk|rk)_live_[A-Za-z0-9]{16}|\bSG\.[\w-]{16,}\.[\w-]{16,}"
    ),
    "a chat service's token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a signed token": re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"),
}
_URL = re.compile(r"\b(?:postgres(?:ql)?|redis|amqp)s?://[^\s:@/{}'\"]*:([^\s@/{}'\"$…*]{8,})@")
_ASSIGNED = re.compile(
    r"""(?i)(?:secret|passw(?:or)?d|token|api_?key|private_?key)\w*["']?\s*[:=]\s*["']([\w+/=.~-]{20,})["']"""
)
_TEXT = {
    ".py",
    ".toml",
    ".md",
    ".json",
    ".yml",
    ".yaml",
    ".sh",
    ".txt",
    ".in",
    ".cfg",
    ".ini",
    ".env",
    ".html",
    ".js",
    ".proto",
    "",
}
#: (file, what is found): looked at, and no secret.
_LOOKED_AT = {
    ("accounts/rest/samples.py", "a signed token"),  # an example of the API's document, signed with nothing
    ("accounts/rest/samples.py", "assigned"),
    ("tests/notifications/test_fcm.py", "a private key"),  # what is none is refused
    ("tests/notifications/test_registry.py", "a private key"),
    ("tests/notifications/test_vapid.py", "a private key"),
    ("whatsapp/wire/examples.py", "a signed token"),
    ("whatsapp/wire/examples.py", "assigned"),
}


def _random(text: str) -> bool:
    """Whether it looks made by a generator: words and repetitions have less than 3.6 bits a character."""
    counts = Counter(text)
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return bits > 3.6 and bool(re.search(r"\d", text)) and bool(re.search(r"[A-Za-z]", text))


def found_in(text: str) -> set[str]:
    found = {kind for kind, pattern in _KINDS.items() if pattern.search(text)}
    if any(_random(value) for value in _URL.findall(text)):
        found.add("a URL with a password")
    if any(_random(value) for value in _ASSIGNED.findall(text)):
        found.add("assigned")
    return found


def test_nothing_in_the_repository_looks_like_a_secret() -> None:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    read = 0
    suspicious = []
    for name in filter(None, names):
        path = REPO / name
        if path.suffix not in _TEXT or name.startswith("requirements") or not path.is_file():
            continue
        read += 1
        if name == "tests/security/test_secrets.py":
            continue  # what it plants
        kinds = found_in(path.read_text(errors="replace"))
        suspicious += [(name, kind) for kind in sorted(kinds) if (name, kind) not in _LOOKED_AT]
    assert read > 200
    assert suspicious == []


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        ("aws = 'AKIAIOSFODNN7EXAMPLE'", "a cloud key"),
        ("DATABASE_URL=postgresql://chat:f8Kq2mZx0vR7tYb1@db/chat", "a URL with a password"),
        ('SECRET_KEY = "f8Kq2mZx0vR7tYb1Nc5wLs9dEh3g"', "assigned"),
        ('"smpp_password": "aQ9xT3uLw8Zr5kVn1bMy"', "assigned"),
    ],
)
def test_a_planted_secret_is_found(planted: str, kind: str) -> None:
    assert kind in found_in(planted)


def test_nothing_that_holds_secrets_is_tracked() -> None:
    names = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        base = Path(name).name
        assert base not in {
            "secrets.json",
            "sms.jsonl",
            ".env",
            "state.json",
            "id_rsa",
            ".netrc",
            ".pypirc",
        }, name
        assert Path(name).suffix not in {".pem", ".key", ".p12", ".pfx", ".sqlite3", ".db", ".log"}, name


# -- a running system --------------------------------------------------------------------------------------------------------


def _secrets(system: System) -> dict[str, str]:
    env = system.env
    found = {
        "SECRET_KEY": env["SECRET_KEY"],
        "TOKEN_KEYS": env["TOKEN_KEYS"].split(",")[0].partition(":")[2],
        "FRANKING_KEYS": env["FRANKING_KEYS"].split(",")[0].partition(":")[2],
        "database password": re.search(r":([^:@/]+)@", env["DATABASE_URL"])[1],  # type: ignore[index]
        "hot password": re.search(r":([^:@/]+)@", env["HOT_URL"])[1],  # type: ignore[index]
    }
    assert all(len(value) >= 16 for value in found.values())
    return found


@pytest.mark.needs_system
async def test_a_running_system_shows_its_secrets_nowhere(production: System, port: int) -> None:
    # What fails is where secrets usually come out: requests that break, a server that is away.
    await ask(port, request("/health/ready", headers=(HOST_LINE,)))
    await ask(port, b"nonsense\r\n\r\n")
    answers = [
        await ask(port, request(path, headers=(HOST_LINE, "Authorization: Bearer x")))
        for path in ("/me", "/health/ready", "/schema/openapi.json", "/nothing", "/admin/login/")
    ]
    arguments = _arguments()
    assert "whatsapp.serve" in arguments  # it looked in the right place
    logs = {path.name: path.read_text(errors="replace") for path in (production.data / "logs").iterdir()}
    assert any("gateway" in name and text for name, text in logs.items())
    for name, secret in _secrets(production).items():
        assert secret not in arguments, f"{name} is in the arguments of a process"
        for log, text in logs.items():
            assert secret not in text, f"{name} is in {log}"
        for answer in answers:
            assert secret.encode() not in answer.body


def _arguments() -> str:
    """Of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text(errors="replace"))
        except OSError:
            continue  # it has ended
    return "\n".join(found)


@pytest.mark.needs_system
async def test_a_token_in_an_address_reaches_no_log(production: System, port: int) -> None:
    """Nobody should send one there; whoever does is not written down."""
    await ask(port, request("/me?token=very-secret-token-in-query", headers=(HOST_LINE,)))
    await ask(port, request("/ws?token=very-secret-token-in-query", headers=(HOST_LINE,)))
    for path in (production.data / "logs").iterdir():
        assert "very-secret-token-in-query" not in path.read_text(errors="replace"), path.name


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@127.0.0.1/0",
        "redis://:hunter2@127.0.0.1:port/0",
        "redis://:hunter2@127.0.0.1:99999999/0",
    ],
)
def test_a_wrong_url_is_said_without_its_password(url: str) -> None:
    with pytest.raises(BadUrl) as caught:
        Address(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None  # nor in what a traceback would add


def test_files_with_secrets_are_their_owners_alone(production: System) -> None:
    assert (production.data / "secrets.json").stat().st_mode & 0o077 == 0
    assert (
        (production.data / "sms.jsonl").stat().st_mode & 0o077 == 0
        if (production.data / "sms.jsonl").exists()
        else True
    )
