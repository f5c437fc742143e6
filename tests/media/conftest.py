"""People who upload, and a storage in a folder of the test."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest
from django.test import Client

from media.storage import Storage, storage
from tests.accounts.conftest import (  # noqa: F401 - fixtures
    Person,
    _memory_layer,
    assert_problem,
    clock,
    enqueued,
    limits,
    told,
)
from tests.groups.conftest import make, sign_in
from tests.staff.conftest import make_staff, superuser  # noqa: F401 - fixtures

__all__ = ["Person", "assert_problem", "make", "sign_in"]


@pytest.fixture(autouse=True)
def room(limits: Any, enqueued: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    limits(groups_per_hour=100_000, group_changes_per_hour=100_000)
    monkeypatch.setattr("delivery.changes._tell", lambda entry: None)


@pytest.fixture
def folder(tmp_path: Any, settings: Any) -> Storage:
    """The storage of this test."""
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "media"},
        },
    }
    return storage()


@pytest.fixture
def ann(folder: Storage) -> Person:
    return sign_in()


@pytest.fixture
def chat(ann: Person) -> str:
    """Hers with somebody else."""
    return direct(ann, sign_in())


def kept(folder: Storage) -> list[str]:
    return [entry.key for entry in folder.keys()]  # noqa: SIM118 - no dictionary


def direct(one: Person, other: Person) -> str:
    """Their conversation."""
    answer = one.api.put(f"/conversations/direct/{other.user_id}", {})
    assert answer.status_code == 200, answer.content
    return str(answer.json()["conversationId"])


class Tus:
    """A client of tus 1.0, as plain as can be."""

    def __init__(self, person: Person) -> None:
        self._client = Client()
        self._headers = {"Authorization": f"Bearer {person.token}", "Tus-Resumable": "1.0.0"}

    def ask(self, method: str, path: str, body: bytes = b"", **headers: Any) -> Any:
        """Headers by name with underscores; None leaves one out."""
        given = {
            **self._headers,
            **{name.replace("_", "-"): str(v) for name, v in headers.items() if v is not None},
        }
        for name in [name for name, value in headers.items() if value is None]:
            given.pop(name.replace("_", "-"), None)
        kind = given.pop("Content-Type", "application/offset+octet-stream" if body else "")
        return self._client.generic(method, path, body, content_type=kind, headers=given, CONTENT_TYPE=kind)

    def begin(self, conversation: str, length: int | None, body: bytes = b"", **headers: Any) -> Any:
        metadata = {"fileType": "document", "conversationId": conversation, "filetype": "application/pdf"}
        metadata |= headers.pop("metadata", {})
        given = {
            "Upload_Defer_Length": 1 if length is None else None,
            "Upload_Length": length,
            "Upload_Metadata": ",".join(
                f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items()
            ),
        }
        return self.ask("POST", "/media/tus", body, **{**given, **headers})

    def send(self, path: str, offset: int, body: bytes, **headers: Any) -> Any:
        return self.ask(
            "PATCH",
            path,
            body,
            Upload_Offset=offset,
            Content_Type="application/offset+octet-stream",
            **headers,
        )

    def offset(self, path: str) -> int:
        answer = self.ask("HEAD", path)
        assert answer.status_code == 200, answer.content
        return int(answer.headers["Upload-Offset"])


def some_id() -> str:
    return str(uuid.uuid4())
