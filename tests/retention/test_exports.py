"""A person's own archive over HTTP: what is in it, what is not, who gets it and for how long. The storage is a folder."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tracemalloc
import uuid
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from accounts import stores
from accounts.errors import Refused
from accounts.models import Account, Export
from accounts.services import exports, recycling
from accounts.stores import Part
from accounts.stores import Person as Whose
from accounts.tasks import build_export, exports_waiting
from delivery.store.sync import store
from media.storage import Storage, StorageUnavailable
from tests.accounts.conftest import Person, assert_problem
from tests.contract.people import new_id, send
from tests.groups.conftest import make, sign_in
from tests.media.conftest import direct, folder, kept, room  # noqa: F401  (fixtures)
from whatsapp.infra.clock import now_ms
from whatsapp.infra.retention import DAY_MS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_server", "folder")]


def write(sender: Person, conversation: str, body: bytes) -> None:
    with transaction.atomic():
        store.append(new_id(), [send(conversation, sender.user_id, sender.device_id, body=body)], now_ms())


def ask(person: Person) -> str:
    answer = person.api.post("/me/export")
    assert answer.status_code == 202, answer.content
    return str(answer.json()["exportId"])


def fetch(url: str) -> Any:
    answer = Client().get(url)
    return answer.status_code, asyncio.run(_read(answer)) if answer.streaming else answer.content


async def _read(answer: Any) -> bytes:
    return b"".join([piece async for piece in answer.streaming_content])


def archive_of(person: Person) -> zipfile.ZipFile:
    export = ask(person)
    assert build_export(export)
    status, data = fetch(person.api.get(f"/me/export/{export}").json()["url"])
    assert status == 200
    return zipfile.ZipFile(io.BytesIO(data))


def rows(archive: zipfile.ZipFile, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in archive.read(name).splitlines()]


def test_what_is_held_about_a_person_is_in_it_and_nothing_of_others() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    ann.api.patch("/me", {"name": "Ann", "about": "At the sea"})
    bob.api.patch("/me", {"about": "a secret of Bob"})
    ann.api.put(f"/contacts/{bob.user_id}", {"nickname": "Bobby"})
    ann.api.put(f"/blocks/{eve.user_id}", {})
    with_bob, theirs = direct(ann, bob), direct(bob, eve)
    write(ann, with_bob, b"from Ann")
    write(bob, with_bob, b"from Bob")
    write(bob, theirs, b"of Bob and Eve")
    group = make(ann, bob, name="Climbers")
    archive = archive_of(ann)

    (profile,) = rows(archive, "accounts/profile.jsonl")
    assert (profile["name"], profile["about"], profile["phoneNumber"]) == ("Ann", "At the sea", ann.phone)
    assert [row["deviceId"] for row in rows(archive, "accounts/devices.jsonl")] == [ann.device_id]
    (contact,) = rows(archive, "accounts/contacts.jsonl")
    assert (contact["nickname"], contact["phoneNumber"]) == ("Bobby", None), "the number is not Ann's to know"
    assert [row["userId"] for row in rows(archive, "accounts/blocks.jsonl")] == [eve.user_id]
    assert [(row["groupId"], row["name"]) for row in rows(archive, "groups/memberships.jsonl")] == [
        (group, "Climbers")
    ]
    events = [row for row in rows(archive, "conversations/events.jsonl") if row["conversationId"] == with_bob]
    assert [(row["senderId"], row["content"]) for row in events] == [
        (ann.user_id, "ZnJvbSBBbm4="),
        (bob.user_id, "ZnJvbSBCb2I="),
    ]
    assert events[1]["deviceId"] is None, "which device Bob writes with is not Ann's to know"

    everything = b"".join(archive.read(name) for name in archive.namelist())
    for secret in (
        bob.phone,
        eve.phone,
        "a secret of Bob",
        bob.device_id,
        theirs,
        ann.token,
        ann.refresh_token,
    ):
        assert secret.encode() not in everything, secret
    assert hashlib.sha256(ann.refresh_token.encode()).hexdigest().encode() not in everything


def test_its_owner_is_told_when_it_is_ready(told: Any, django_capture_on_commit_callbacks: Any) -> None:
    ann, eve = sign_in(), sign_in()
    read, read_eves = told(ann.user_id), told(eve.user_id)
    export = ask(ann)
    with django_capture_on_commit_callbacks(execute=True):
        assert build_export(export)
    said = ann.api.get(f"/me/export/{export}").json()
    (notice,) = read()
    assert (notice["type"], notice["kind"]) == ("notice", "export")
    assert notice["data"] == {"exportId": export, "size": said["size"], "expiresAt": said["expiresAt"]}
    assert not build_export(export)
    assert [*read(), *read_eves()] == []


def test_the_manifest_has_every_file() -> None:
    archive = archive_of(sign_in())
    manifest = json.loads(archive.read("manifest.json"))
    assert manifest["schema"] == exports.SCHEMA
    listed = {part["path"]: part for part in manifest["parts"]}
    assert {*listed, "README.txt", "manifest.json"} == set(archive.namelist())
    for path, part in listed.items():
        data = archive.read(path)
        assert (part["size"], part["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    for one in stores.all_stores():
        if one.name in ("hot", "staff"):
            continue  # hints that go by themselves, made again from the rest; and what staff wrote
        assert any(path.startswith(f"{one.name}/") for path in listed), f"{one.name} says nothing"


def test_one_a_day(clock: Any) -> None:
    ann = sign_in()
    export = ask(ann)
    assert ask(ann) == export
    assert build_export(export)
    assert not build_export(export), "it is made once"
    assert ask(ann) == export
    clock(DAY_MS + 1)
    account = Account.objects.get(pk=ann.user_id)
    late = exports.ask(account=account, now=exports.now_ms())
    assert str(late.pk) != export, "the next day has its own"
    clock(8 * DAY_MS)
    assert exports.ask(account=account, now=exports.now_ms()).pk != late.pk, "nothing waits for ever"


def test_it_is_its_owners_alone() -> None:
    ann, eve = sign_in(), sign_in()
    export = ask(ann)
    assert ann.api.get(f"/me/export/{export}").json()["state"] == "waiting"
    assert "url" not in ann.api.get(f"/me/export/{export}").json()
    build_export(export)
    assert_problem(eve.api.get(f"/me/export/{export}"), "not_found", 404)
    assert Client().get(f"/me/export/{export}").status_code == 401
    url = ann.api.get(f"/me/export/{export}").json()["url"]
    assert fetch(url)[0] == 200
    assert fetch(url.split("?")[0])[0] == 403, "without the signature it is nobody's"


def test_it_goes_after_a_week(clock: Any, folder: Storage) -> None:  # noqa: F811
    ann = sign_in()
    export = ask(ann)
    build_export(export)
    assert any(key.startswith("exports/") for key in kept(folder))
    clock(7 * DAY_MS - 60_000)
    exports_waiting()
    assert any(key.startswith("exports/") for key in kept(folder))
    clock(60_001)
    exports_waiting()
    assert not any(key.startswith("exports/") for key in kept(folder))
    row = Export.objects.get(pk=export)
    assert row.state == "expired"
    clock(30 * DAY_MS)
    exports_waiting()
    assert not Export.objects.filter(pk=export).exists()


def test_a_file_that_no_row_knows_goes_too(clock: Any, folder: Storage) -> None:  # noqa: F811
    ann = sign_in()
    export = ask(ann)
    build_export(export)
    Export.objects.filter(pk=export).delete()
    clock(9 * DAY_MS)
    exports_waiting()
    assert not any(key.startswith("exports/") for key in kept(folder))


def test_what_a_worker_left_is_begun_anew(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is gone says nothing: its lease does."""
    ann = sign_in()
    export = ask(ann)
    dead = exports._take(uuid.UUID(export))
    assert dead is not None
    assert not build_export(export)
    assert uuid.UUID(export) not in exports.waiting(now_ms())
    clock(exports.LEASE_MS + 1)
    assert uuid.UUID(export) in exports.waiting(exports.now_ms())
    assert build_export(export)
    assert not exports._mine(dead).update(state="waiting"), "who comes back has lost it"


def test_who_dies_of_it_again_and_again_is_given_up(clock: Any) -> None:
    ann = sign_in()
    export = ask(ann)
    for _ in range(exports._ATTEMPTS):
        assert exports._take(uuid.UUID(export)) is not None
        clock(exports.LEASE_MS + 1)
    assert exports._take(uuid.UUID(export)) is None
    exports_waiting()
    assert ann.api.get(f"/me/export/{export}").json()["state"] == "expired"
    assert ask(ann) != export


def test_an_error_in_the_middle_leaves_no_file(monkeypatch: pytest.MonkeyPatch, folder: Storage) -> None:  # noqa: F811
    ann = sign_in()
    export = ask(ann)

    def broken(person: Whose) -> Iterator[Part]:
        yield Part("conversations/x.bin", [b"x" * 100])
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("accounts.exported_log.parts", broken)
        with pytest.raises(RuntimeError):
            build_export(export)
    assert not any(key.startswith("exports/") for key in kept(folder))


def test_a_storage_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    clock: Any,
    folder: Storage,  # noqa: F811
) -> None:
    ann = sign_in()
    export = ask(ann)

    def away(*args: Any, **more: Any) -> Any:
        raise StorageUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "begin", away)
        assert not build_export(export)
    assert Export.objects.get(pk=export).attempts == 0
    clock(exports.AGAIN_MS + 1)
    assert build_export(export)


def test_it_is_never_in_memory_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    ann = sign_in()
    export = ask(ann)
    piece, pieces = os.urandom(2**20), 160

    def large(person: Whose) -> Iterator[Part]:
        yield Part("conversations/large.bin", (piece for _ in range(pieces)))

    monkeypatch.setattr("accounts.exported_log.parts", large)
    tracemalloc.start()
    try:
        assert build_export(export)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert Export.objects.get(pk=export).size > pieces * 2**20
    assert peak < 80 * 2**20


@pytest.mark.parametrize("ends", ["its time", "the job", "the account"])
def test_what_ends_while_it_is_built_is_not_had(
    ends: str,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    folder: Storage,  # noqa: F811
) -> None:
    ann = sign_in()
    export = ask(ann)
    real = exports.faults.point

    def written(name: str) -> None:
        real(name)
        if name != "export-written":
            return
        if ends == "the account":
            account = Account.objects.get(pk=ann.user_id)
            recycling.retire(account=account, now=exports.now_ms())
            return
        clock(7 * DAY_MS)
        if ends == "the job":
            assert exports_waiting() == 0

    monkeypatch.setattr(exports.faults, "point", written)
    assert not build_export(export)
    row = Export.objects.get(pk=export)
    assert (row.state, exports.url(row, exports.now_ms())) in {("waiting", None), ("expired", None)}
    assert not any(key.startswith("exports/") for key in kept(folder)), "nor is a file left that nobody knows"


def test_an_account_that_ends_leaves_no_archive(folder: Storage, clock: Any) -> None:  # noqa: F811
    ann, bob = sign_in(), sign_in()
    export, other = ask(ann), ask(bob)
    assert build_export(export)
    assert build_export(other)
    account = Account.objects.get(pk=ann.user_id)
    recycling.retire(account=account, now=exports.now_ms())
    assert exports.url(Export.objects.get(pk=export), exports.now_ms()) is None
    with pytest.raises(Refused):
        exports.ask(account=account, now=exports.now_ms())
    exports_waiting()
    assert [key for key in kept(folder) if key.startswith("exports/")] == [f"exports/{uuid.UUID(other).hex}"]


def test_an_account_that_is_erased_takes_its_archive_along(folder: Storage) -> None:  # noqa: F811
    ann = sign_in()
    export = ask(ann)
    build_export(export)
    exports.forget(uuid.UUID(ann.user_id))
    assert not any(key.startswith("exports/") for key in kept(folder))
    assert not Export.objects.filter(pk=export).exists()
