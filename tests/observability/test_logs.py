"""Log lines: JSON with the promised keys, and nobody's number, name, id, token or words in any of them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.gateway.peer import Peer
from tests.gateway.phone import couple, link, rest
from tests.observability.manage import manage
from tests.support.cassandra import on_cassandra
from tests.support.patience import until
from whatsapp.infra.logs import BadMonth, Formatter, Hasher, Repeats, about
from whatsapp.settings.logs import hash_key, logging_config
from whatsapp.settings.scrub import scrub
from whatsapp.wire import frames

SECRET = "s" * 40
KEYS = {"ts", "level", "logger", "event", "process", "pid"}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
ANN = "0193c1f0-1111-7000-8000-00000000000a"


@pytest.fixture
def lines() -> Iterator[Any]:
    """A logger that nobody else has, and what it has written, parsed."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(secret=SECRET, scrub=scrub))
    handler.addFilter(Repeats())
    logger = logging.getLogger("test-logs")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)

    class Lines:
        log = logger

        @property
        def all(self) -> list[dict[str, Any]]:
            return [json.loads(line) for line in stream.getvalue().splitlines()]

        @property
        def text(self) -> str:
            return stream.getvalue()

    yield Lines()
    logger.removeHandler(handler)


# -- one line -----------------------------------------------------------------------------------------------------------------


def test_a_line_has_the_promised_keys(lines: Any) -> None:
    lines.log.warning(
        "%d things\nhappened", 3, extra={"code": 4400, "reason": "flood", "unknown": "left out"}
    )
    (line,) = lines.all
    assert set(line) == KEYS | {"code", "reason"}
    assert line["event"] == "3 things\nhappened"
    assert line["level"] == "warning"
    assert line["code"] == 4400
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])


def test_ids_are_keyed_hashes_wherever_they_stand(lines: Any) -> None:
    hashed = Hasher(SECRET)(ANN)
    lines.log.info("about %s", ANN.upper(), extra=about(user=ANN, device="", address="192.0.2.9"))
    try:
        raise LookupError(f"no {ANN}")
    except LookupError:
        lines.log.exception("failed")
    first, second = lines.all
    assert first["event"] == f"about {hashed}"
    assert first["user"] == hashed
    assert "device" not in first
    assert first["address"] == Hasher(SECRET)("192.0.2.9")
    assert hashed in second["traceback"]
    assert second["error"] == "LookupError"
    assert ANN not in lines.text.lower()
    assert "192.0.2.9" not in lines.text


def test_hashes_of_two_months_or_keys_cannot_be_joined() -> None:
    hasher = Hasher(SECRET)
    assert hasher(ANN, "2026-10") == hasher(ANN.upper(), "2026-10")
    months = {hasher(ANN, f"20{year}-{month:02}")[5:] for year in range(20, 30) for month in range(1, 13)}
    assert len(months) == 120
    assert Hasher("t" * 40)(ANN, "2026-10") != hasher(ANN, "2026-10")
    for wrong in ("2026-13", "26-10", "x"):
        with pytest.raises(BadMonth):
            hasher(ANN, wrong)


def test_values_in_the_messages_of_others_are_scrubbed(lines: Any) -> None:
    lines.log.error("Key (name)=(Annabella) already exists. DETAIL:  Failing row contains (7, Annabella).")
    lines.log.error('invalid input syntax for type uuid: "Annabella"')
    lines.log.error("Authorization: Bearer abc.def to +4915112345678")
    lines.log.error(
        "'redis://:Annabella@127.0.0.1:6379/0' is no address, nor postgresql://bob:Annabella@db/x"
    )
    assert "127.0.0.1:6379/0" in lines.text
    for secret in ("Annabella", "abc.def", "+4915"):
        assert secret not in lines.text


def test_a_call_with_wrong_arguments_still_makes_a_line() -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "%s and %s", "args": ("secret",)})
    text = Formatter(secret=SECRET, scrub=scrub).format(record)
    assert json.loads(text)["level"] == "error"
    assert "secret" not in text


def test_repeats_are_counted_not_written(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("whatsapp.infra.logs.time.monotonic", lambda: now)
    for number in range(500):
        lines.log.error("server %d is away", number)
        if number % 100 == 0:
            lines.log.error("something else")
    written = [line["event"] for line in lines.all]
    assert written.count("something else") == 5
    assert len(written) == 5 + Repeats.BURST
    now += Repeats.WINDOW_S + 1
    lines.log.error("server %d is away", 1)
    assert lines.all[-1]["suppressed"] == 500 - Repeats.BURST


def test_settings_refuse_what_they_do_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LOG_LEVEL", "LOUD"), ("LOG_FORMAT", "xml")):
        monkeypatch.setenv(name, value)
        with pytest.raises(ImproperlyConfigured, match=name):
            logging_config(SECRET)
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOG_HASH_KEY", "short")
    with pytest.raises(ImproperlyConfigured, match="LOG_HASH_KEY"):
        hash_key("k")
    monkeypatch.setenv("LOG_HASH_KEY", "k" * 32)
    assert hash_key("other") == "k" * 32


def test_the_console_is_for_people() -> None:
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": f"hello {ANN}", "user": ANN})
    text = Formatter(secret=SECRET, scrub=scrub, console=True).format(record)
    assert "hello" in text
    assert ANN not in text
    with pytest.raises(ValueError):
        json.loads(text)


# -- a whole system -----------------------------------------------------------------------------------------------------------


async def _bad_frames(system: Any, phone: Any) -> None:
    async with await Peer.open(system.ws, phone) as peer:
        await peer.raw(b'{"type": "Annabella"}')
        for _ in range(3):
            await peer.raw(b"{Annabella")
        assert await peer.closed() == 4400
    async with await Peer.open(system.ws, None) as peer:
        await peer.send(frames.Auth(phone.token + "x"))
        assert await peer.closed() == 4401


async def _postgres_away(system: Any, ann: Peer, conversation: str) -> None:
    """PostgreSQL dies and comes back; meanwhile a send is refused, if messages are there, and readiness says what is missing."""
    system.kill("postgres")
    answer = await ann.attempt(conversation, "Kennwort while away")
    if not on_cassandra():
        assert answer.code == "unavailable"

    async def not_ready() -> Any:
        answer = await rest(system.http, "GET", "/health/ready")
        return answer if answer.status_code == 503 else None

    problem = (await until(not_ready, "not ready")).json()
    log = {"log": True} if on_cassandra() else {}
    assert problem["details"]["parts"] == {"database": False, "hot": True, **log}
    assert "database" in problem["detail"]
    assert (await rest(system.http, "GET", "/health/live")).status_code == 200
    await asyncio.to_thread(system.restart, "postgres")

    async def stored() -> bool:
        return isinstance(await ann.attempt(conversation, "Kennwort again"), frames.StatusUpdate)

    await until(stored, "sends are taken again", 30)

    async def ready() -> bool:
        return (await rest(system.http, "GET", "/health/ready")).status_code == 200

    await until(ready, "ready again", 30)


def _failures(system: Any, person: Any) -> str:
    """What fails in Django code and in a task has values in its messages. Returns what the command wrote."""
    make = f"Account.objects.create(phone={person.number!r}, name='Annabella')"
    broken = manage(system, "shell", "-c", f"from accounts.models import Account\n{make}")
    assert broken.returncode != 0
    assert "already exists" in broken.stderr
    request = f"{{'key': 'Annabella', 'user': {person.user!r}}}"
    task = manage(
        system,
        "shell",
        "-c",
        f"import whatsapp.celery\nfrom delivery.tasks import drain\ndrain.delay({request})",
    )
    assert task.returncode == 0, task.stderr
    return broken.stderr


def _ban(system: Any, person: Any) -> None:
    ban = f"bans.ban(account=Account.objects.get(pk={person.user!r}), until=1 << 50)"
    code = f"from accounts.models import Account\nfrom accounts.services import bans\n{ban}"
    done = manage(system, "shell", "-c", code)
    assert done.returncode == 0, done.stderr


def _read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def _parse(written: dict[str, str]) -> list[dict[str, Any]]:
    parsed = []
    for name, text in written.items():
        if name in ("postgres.log", "valkey.log", "migrate.log"):
            continue
        for line in text.splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                raise AssertionError(f"{name}: {line!r} is no JSON") from None
            if "private_port" in found:
                continue  # what a gateway tells whoever started it, on stdout
            assert set(found) >= KEYS, line
            assert not UUID.search(line), line
            parsed.append(found)
    return parsed


async def test_no_log_of_a_system_tells_who_said_what(own_stack: Any) -> None:
    system = own_stack(beat=True, env={"LOG_LEVEL": "DEBUG", "LOG_HASH_KEY": SECRET})
    ann, bob, conversation = await couple(system)
    laptop = await link(ann, name="Annabella laptop")
    await ann.rest("PATCH", "/me", {"name": "Annabella", "about": "Aboutness"})
    await ann.rest("POST", "/contacts", {"phoneNumber": bob.number, "nickname": "Bobsleigh"})
    await ann.rest("PUT", "/auth/pin", {"pin": "Tulpe-4711"})
    await ann.rest("PUT", "/auth/pin", {"pin": "Tulpe-4712", "currentPin": "Tulpe-4713"})
    await ann.rest("DELETE", "/auth/pin", {"currentPin": "Tulpe-4711"})
    await ann.rest("PUT", "/auth/phone", {"phoneNumber": "+15550000", "code": "Tulpe-4711"})
    await ann.rest("POST", "/contacts", {"phoneNumber": "+1555000"})
    await ann.rest("GET", "/conversations/Annabella")
    await rest(
        system.http, "GET", "/me", headers={"Authorization": f"Bearer {ann.token}x", "Host": "annabella"}
    )
    urls = [gateway["ws"] for gateway in system.gateways.values()]
    async with await Peer.open(urls[0], ann) as first, await Peer.open(urls[1], bob) as second:
        sent = await first.say(conversation, "Kennwort 4711")
        assert (await second.messages(1))[0].message_id == sent.message_id
        await second.ack(conversation, sent.seq or 0)
        await _bad_frames(system, laptop)
        await _postgres_away(system, first, conversation)
        complaint = await asyncio.to_thread(_failures, system, ann)
        await until(lambda: "ValidationError" in system.log("worker-1"), "the task failed", 30)
        await asyncio.to_thread(_ban, system, bob)
        assert await second.closed() == 4403
    for name in ("gateway-1", "gateway-2", "worker-1", "beat"):
        system.stop_part(name)

    written = _read(system.data / "logs")
    written["manage"] = complaint
    assert {"gateway-1.log", "worker-1.log", "beat.log", "postgres.log", "valkey.log"} <= set(written)
    secrets = [
        "Annabella",
        "annabella",
        "Bobsleigh",
        "Aboutness",
        "Kennwort",
        "Tulpe",
        conversation,
        sent.message_id,
    ]
    for person in (ann, bob, laptop):
        secrets += [
            person.number[1:],
            person.user,
            person.device,
            person.token,
            person.refresh_token,
        ]
    for name, text in written.items():
        for secret in secrets:
            assert secret not in text, [
                (name, line) for line in text.splitlines() if secret is not None and secret in line
            ]
    parsed = _parse(written)
    assert {line["process"] for line in parsed} == {"gateway-1", "gateway-2", "worker-1", "beat", "manage"}
    # What did happen can be followed by who knows an id and has the key.
    told = manage(system, "loghash", bob.user).stdout.strip()
    assert told == Hasher(SECRET)(bob.user)
    assert [line["code"] for line in parsed if line.get("user") == told] == [4403]
    assert any(line.get("code") == 4400 and line["connection"].startswith("gateway-") for line in parsed)
    assert any("delivery.tasks.drain" in line["event"] and "traceback" in line for line in parsed)
