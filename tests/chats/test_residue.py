# ruff: noqa: F811 - fixtures
"""``manage.py residue`` finds an identifier in each kind of place, in each shape, and what it says repeats none."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import uuid
from collections.abc import Callable
from io import StringIO
from typing import Any, NamedTuple

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Erasure
from tests.chats.test_erasure import data, hot  # noqa: F401
from tests.media.conftest import folder  # noqa: F401
from whatsapp.infra.needles import Needles

PHONE = "+15550199"


class Somebody(NamedTuple):
    user_id: str
    device_id: str


@pytest.fixture
def somebody(hot: str, data: Any, folder: Any) -> Somebody:
    return Somebody(str(uuid.uuid4()), str(uuid.uuid4()))


def found(who: Somebody, **options: Any) -> str:
    """What the command says; "" when it finds nothing."""
    out = StringIO()
    try:
        call_command("residue", who.user_id, phone=PHONE, device=[who.device_id], stdout=out, **options)
    except CommandError as error:
        said = f"{out.getvalue()}\n{error}"
        for secret in (who.user_id, who.user_id.replace("-", ""), PHONE, PHONE[1:], who.device_id):
            assert secret not in said
        return said
    assert "Nothing is left" in out.getvalue()
    return ""


#: How an identifier may be written.
SHAPES: dict[str, Callable[[Somebody], bytes]] = {
    "text": lambda who: who.user_id.encode(),
    "upper": lambda who: who.user_id.upper().encode(),
    "hex": lambda who: who.user_id.replace("-", "").encode(),
    "bytes": lambda who: uuid.UUID(who.user_id).bytes,
    "base64": lambda who: base64.b64encode(b"x" + uuid.UUID(who.user_id).bytes + b"yz"),
    "base64 of text": lambda who: base64.urlsafe_b64encode(b"id=" + who.user_id.encode()),
    "device": lambda who: uuid.UUID(who.device_id).bytes,
    "phone": lambda who: PHONE.encode(),
    "digits": lambda who: PHONE[1:].encode(),
    "phone hash": lambda who: hashlib.sha256(PHONE.encode()).digest(),
}


@pytest.mark.django_db
def test_of_nobody_nothing_is_found(somebody: Somebody) -> None:
    assert found(somebody) == ""


@pytest.mark.django_db
@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_is_found_in_a_column_of_bytes(somebody: Somebody, shape: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_allowance (subject, tat) VALUES (%s, 1)",
            [b"before" + SHAPES[shape](somebody) + b"behind"],
        )
    assert "accounts_allowance" in found(somebody)


COLUMNS = {
    "uuid": "'{user}'::uuid",
    "text": "'the user {user} was here'",
    "json": """'{{"deep": [{{"id": "{user}"}}]}}'::jsonb""",
    "array": "array['{user}'::uuid]",
    "bytea": "decode(replace('{user}', '-', ''), 'hex')",
    "composite": "row(1, '{user}')::text",
}


@pytest.mark.django_db
@pytest.mark.parametrize("column", COLUMNS)
def test_each_type_of_column_of_a_table_that_nobody_knows(somebody: Somebody, column: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA elsewhere")
        # Long enough that PostgreSQL compresses the rest of the row.
        cursor.execute(
            f"CREATE TABLE elsewhere.forgotten AS SELECT repeat('x', 100000), {COLUMNS[column]} AS held".format(
                user=somebody.user_id
            )
        )
    assert "elsewhere.forgotten" in found(somebody)


KEYS: dict[str, Callable[[Any, bytes], Any]] = {
    "name": lambda node, held: node.set(b"{" + held + b"}:sessions", b"1"),
    "string": lambda node, held: node.set("k", b"\0" * (1 << 20) + held),
    "across two pieces": lambda node, held: node.set("k", b"\0" * ((1 << 20) - 7) + held + b"end"),
    "list": lambda node, held: node.rpush("k", *[b"x"] * 700, held),
    "set": lambda node, held: node.sadd("k", held, *[f"other {n}" for n in range(700)]),
    "sorted set": lambda node, held: node.zadd("k", {held: 1, **{f"other {n}": n for n in range(700)}}),
    "field": lambda node, held: node.hset("k", held, b"1"),
    "value": lambda node, held: node.hset("k", "f", held),
    "stream": lambda node, held: (
        [node.xadd("k", {"f": "x"}) for _ in range(600)] + [node.xadd("k", {"f": held})]
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("place", KEYS)
@pytest.mark.parametrize("shape", ["text", "bytes"])
def test_each_type_of_key_of_valkey(somebody: Somebody, hot: str, place: str, shape: str) -> None:
    KEYS[place](redis.Redis.from_url(hot), SHAPES[shape](somebody))
    assert "valkey" in found(somebody)


@pytest.mark.django_db
def test_each_place_of_an_object(somebody: Somebody, folder: Any) -> None:
    held = somebody.user_id
    folder.put("media/2026/clean", b"nothing", "text/plain", metadata={"user-id": "veiled"})
    assert found(somebody) == ""
    folder.put(f"photos/{held}/a", b"nothing", "text/plain")
    assert "object photos/…" in found(somebody)
    folder.delete([f"photos/{held}/a"])
    folder.put("media/2026/beside", b"nothing", "text/plain", metadata={"user-id": held})
    assert "media/2026/beside" in found(somebody)
    folder.delete(["media/2026/beside"])
    folder.put("media/2026/within", b"\0" * 100_000 + held.encode(), "text/plain")
    assert "media/2026/within" in found(somebody)
    assert found(somebody, no_contents=True) == ""


@pytest.mark.django_db
def test_files_beside_it(somebody: Somebody, data: Any) -> None:
    logs = data / "logs"
    logs.mkdir()
    (logs / "gateway.log").write_bytes(os.urandom(100_000))
    assert found(somebody) == ""
    (logs / "worker.log").write_text(f"error of {somebody.user_id}\n")
    assert "logs/worker.log" in found(somebody)
    (logs / "worker.log").unlink()
    (logs / "old.log.gz").write_bytes(gzip.compress(f"text to {PHONE}\n".encode()))
    assert "logs/old.log.gz" in found(somebody)
    (logs / "old.log.gz").unlink()
    (data / somebody.device_id).mkdir()
    assert "files" in found(somebody)


@pytest.mark.django_db
def test_until_an_erasure_is_done_it_is_said_how_far_that_is(somebody: Somebody) -> None:
    Erasure.objects.create(
        user=somebody.user_id, user_hash=b"h" * 32, asked_at=1, erase_at=2, due_at=86_400_000, next_at=2
    )
    assert "Its erasure is under way (soft), and due by 1970-01-02." in found(somebody)


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", ["", "ann", "1", "../x"])
def test_what_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(CommandError, match="no id"):
        call_command("residue", wrong)


@pytest.mark.django_db
def test_what_is_too_short_would_be_found_everywhere(somebody: Somebody) -> None:
    with pytest.raises(CommandError, match="too short"):
        call_command("residue", somebody.user_id, device=["abc"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.uuids(), st.binary(max_size=40), st.binary(max_size=40))
def test_an_id_is_found_wherever_it_begins(user: uuid.UUID, before: bytes, behind: bytes) -> None:
    needles = Needles([("user", str(user))])
    for held in (user.bytes, str(user).encode(), user.hex.encode()):
        whole = before + held + behind
        assert needles.every(whole) == {"user"}
        if held != user.hex.encode():
            assert needles.every(base64.b64encode(whole)) == {"user"}
            assert needles.every(base64.urlsafe_b64encode(whole)) == {"user"}
        pieces = [whole[at : at + 5] for at in range(0, len(whole), 5)]
        assert needles.every_in(pieces) == {"user"}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.uuids(), st.uuids(), st.binary(max_size=200))
def test_somebody_else_is_not_found(user: uuid.UUID, other: uuid.UUID, noise: bytes) -> None:
    if user != other and str(user).encode() not in noise and user.bytes not in noise:
        needles = Needles([("user", str(user))])
        assert needles.every(noise + other.bytes + str(other).encode()) == set()
