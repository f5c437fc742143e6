"""/media/upload: a form with a file."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from media.models import Media, Upload
from media.storage import Storage, StorageUnavailable
from tests.media.conftest import Person, assert_problem, kept, sign_in, some_id

pytestmark = pytest.mark.django_db


def upload(person: Person, fields: dict[str, Any], **headers: str) -> Any:
    """A form with these fields in this order."""
    body = encode_multipart(BOUNDARY, fields)
    return Client().generic(
        "POST",
        "/media/upload",
        body,
        content_type=headers.pop("content_type", MULTIPART_CONTENT),
        headers={
            "Authorization": f"Bearer {person.token}",
            **{n.replace("_", "-"): v for n, v in headers.items()},
        },
    )


def file(data: bytes = b"%PDF-1.7 and so on", kind: str = "application/pdf") -> SimpleUploadedFile:
    return SimpleUploadedFile("report.pdf", data, kind)


@pytest.mark.parametrize("first", [True, False])
def test_a_form_wherever_its_file_stands(ann: Person, chat: str, folder: Storage, first: bool) -> None:
    fields = {"fileType": "document", "conversationId": chat}
    answer = upload(ann, {"file": file(), **fields} if first else {**fields, "file": file()})
    assert answer.status_code == 200, answer.content
    body = answer.json()
    media = body["mediaId"]
    assert body["mediaUrl"] == f"/media/{media}/content"
    assert (body["state"], body["fileType"], body["size"], body["mediaType"]) == (
        "stored", "document", 18, "application/pdf",
    )  # fmt: skip
    assert body["thumbnailUrl"] is None
    assert body["expiresAt"] > 0
    assert ann.api.get(f"/media/{media}").json() == body
    assert folder.read(f"incoming/{media}") == b"%PDF-1.7 and so on"
    assert_problem(sign_in().api.get(f"/media/{media}"), "not_found", 404)


def test_a_file_of_several_parts(ann: Person, chat: str, folder: Storage) -> None:
    data = bytes(range(256)) * 4096 * 12  # 12 MiB
    answer = upload(ann, {"file": file(data), "fileType": "video", "conversationId": chat})
    assert answer.status_code == 200, answer.content
    assert folder.read(f"incoming/{answer.json()['mediaId']}") == data
    assert len(kept(folder)) == 1


def test_a_name_brings_one_file(ann: Person, chat: str, folder: Storage) -> None:
    fields = {"fileType": "document", "conversationId": chat}
    first = upload(ann, {"file": file(), **fields}, X_Idempotency_Key="one")
    again = upload(ann, {"file": file(), **fields}, X_Idempotency_Key="one")
    assert again.json() == first.json()
    assert again.headers["X-Idempotency-Replayed"] == "true"
    assert len(kept(folder)) == 1
    assert upload(ann, {"file": file(), **fields}).json()["mediaId"] != first.json()["mediaId"]


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"fileType": "program"}, "bad_request", 400),
        ({"fileType": None}, "bad_request", 400),
        ({"conversationId": "7"}, "bad_request", 400),
        ({"conversationId": some_id()}, "not_found", 404),
        ({"sha256": "7"}, "bad_request", 400),
        ({"file": None}, "bad_request", 400),
        ({"file": "only text"}, "bad_request", 400),
        ({"other": file(b"another file")}, "bad_request", 400),
        ({"file": file(b"")}, "bad_request", 400),
    ],
)
def test_forms_that_are_refused_leave_nothing(
    ann: Person, chat: str, folder: Storage, fields: dict[str, Any], code: str, status: int
) -> None:
    given = {"file": file(bytes(6 * 2**20)), "fileType": "document", "conversationId": chat, **fields}
    answer = upload(ann, {name: value for name, value in given.items() if value is not None})
    assert_problem(answer, code, status)
    assert kept(folder) == []
    assert list(folder.open_uploads(2**53)) == []
    assert not Media.objects.filter(owner_id=ann.user_id).exists()
    assert not Upload.objects.filter(media__owner_id=ann.user_id).exists()


def test_bodies_that_are_no_form(ann: Person, folder: Storage) -> None:
    assert_problem(upload(ann, {}, content_type="application/json"), "unsupported_media", 415)
    assert_problem(upload(ann, {}, content_type="multipart/form-data"), "bad_request", 400)
    assert_problem(Client().post("/media/upload"), "unauthenticated", 401)


def test_a_large_image_is_too_large(ann: Person, chat: str, folder: Storage, limits: Any) -> None:
    limits(media_photo_bytes=100, media_photo_raw_bytes=200)
    fields = {"fileType": "image", "conversationId": chat}
    assert_problem(upload(ann, {"file": file(bytes(201)), **fields}), "too_large", 413)
    assert upload(ann, {"file": file(bytes(200)), **fields}).status_code == 200
    fields["encrypted"] = "true"
    assert_problem(upload(ann, {"file": file(bytes(200)), **fields}), "too_large", 413)
    assert upload(ann, {"file": file(bytes(100)), **fields}).status_code == 200


def test_a_storage_that_is_away(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise StorageUnavailable

    fields = {"fileType": "document", "conversationId": chat}
    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "put", away)
        answer = upload(ann, {"file": file(), **fields}, X_Idempotency_Key="one")
        assert_problem(answer, "unavailable", 503)
        assert int(answer.headers["Retry-After"]) > 0
    assert upload(ann, {"file": file(), **fields}, X_Idempotency_Key="one").status_code == 200
