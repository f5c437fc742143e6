"""The encrypted small picture of an encrypted file: opaque to the server, its owner's to give, gone with the file."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from accounts.errors import Refused
from accounts.models import Account
from media import tasks
from media.models import Media, Rendition, State
from media.pipeline import thumbnails
from media.pipeline.process import process
from media.services import contents
from media.storage import Storage
from tests.media.conftest import Person, Tus, assert_problem, direct, kept, sign_in, some_id
from tests.media.test_content import asked
from tests.media.test_process import photo, sent
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db
MOST = LIMITS.media_thumbnail_bytes


def put(
    person: Person, media: Any, data: bytes = b"small", media_type: str = "application/octet-stream"
) -> Any:
    headers = {"Authorization": f"Bearer {person.token}"}
    return Client().generic(
        "PUT",
        f"/media/{media}/thumbnail",
        data,
        content_type=media_type,
        headers=headers,
        CONTENT_TYPE=media_type,
    )


def encrypted(ann: Person, chat: str, data: bytes = b"sealed") -> uuid.UUID:
    return sent(ann, chat, data, encrypted="true")


def content(folder: Storage, media: Any) -> bytes:
    return folder.read(Rendition.objects.get(media=media, name="thumb").key)


def test_it_comes_before_the_bytes_of_the_file_or_after_them(ann: Person, chat: str, folder: Storage) -> None:
    begun = Tus(ann).begin(chat, 6, metadata={"encrypted": "true", "fileType": "image"})
    media = begun.headers["Location"].rpartition("/")[2]
    answer = put(ann, media, b"early")
    assert answer.status_code == 200, answer.content
    assert answer.json()["thumbnailUrl"] == f"/media/{media}/content?rendition=thumb"
    assert asked(ann, media, rendition="thumb").status_code == 302, "while the file itself is on its way"
    assert_problem(asked(ann, media), "unavailable", 503)
    Tus(ann).send(begun.headers["Location"], 0, b"sealed")
    process(uuid.UUID(media))
    assert content(folder, media) == b"early"
    done = encrypted(ann, chat)
    process(done)
    assert put(ann, done, b"late").status_code == 200
    assert ann.api.get(f"/media/{done}").json()["thumbnailUrl"] is not None
    assert content(folder, done) == b"late"


def test_the_same_again_counts_nothing_and_another_takes_its_place(
    ann: Person, chat: str, folder: Storage, limits: Any
) -> None:
    limits(media_bytes_per_hour=96_000)  # the file, and four of these
    media = encrypted(ann, chat)
    before = set(kept(folder))
    for _ in range(5):
        assert put(ann, media).status_code == 200
    (first,) = set(kept(folder)) - before
    assert put(ann, media, b"other").status_code == 200
    assert first not in kept(folder)
    assert content(folder, media) == b"other"
    assert Rendition.objects.filter(media=media, name="thumb").count() == 1
    for number in range(2):
        assert put(ann, media, b"%d" % number).status_code == 200
    assert_problem(put(ann, media, b"one more"), "rate_limited", 429)


def test_what_others_have_too_stays_when_it_is_replaced(ann: Person, chat: str, folder: Storage) -> None:
    one, other = encrypted(ann, chat), encrypted(ann, chat)
    put(ann, one, b"alike")
    put(ann, other, b"alike")
    put(ann, one, b"new")
    assert (content(folder, one), content(folder, other)) == (b"new", b"alike")


def test_it_goes_with_the_file(ann: Person, chat: str, folder: Storage, clock: Any) -> None:
    media = encrypted(ann, chat)
    process(media)
    put(ann, media)
    begun = Tus(ann).begin(chat, 6, metadata={"encrypted": "true"})
    put(ann, begun.headers["Location"].rpartition("/")[2], b"of an upload that is given up")
    assert len(kept(folder)) == 3
    Tus(ann).ask("DELETE", begun.headers["Location"])
    contents.drop_rest()
    clock(25 * 3_600_000)
    tasks.drop_unused()
    assert kept(folder) == []
    with pytest.raises(Refused, match="deleted"):
        thumbnails.put(account=Account.objects.get(pk=ann.user_id), media_id=media, data=b"small")


@pytest.mark.parametrize(
    ("data", "media_type", "code", "status"),
    [
        (b"", "application/octet-stream", "bad_request", 400),
        (b"x" * (MOST + 1), "application/octet-stream", "too_large", 413),
        (b"x", "image/jpeg", "unsupported_media", 415),
        (b"{}", "application/json", "unsupported_media", 415),
    ],
)
def test_what_is_refused(
    ann: Person, chat: str, data: bytes, media_type: str, code: str, status: int
) -> None:
    media = encrypted(ann, chat)
    assert_problem(put(ann, media, data, media_type), code, status)
    assert not Rendition.objects.filter(media=media, name="thumb").exists()
    assert put(ann, media, b"x" * MOST).status_code == 200


def test_only_its_owner_gives_one_and_only_to_what_is_encrypted(ann: Person, chat: str) -> None:
    media, plain, bad = encrypted(ann, chat), sent(ann, chat, photo()), encrypted(ann, chat)
    assert_problem(put(sign_in(), media), "not_found", 404)
    assert_problem(put(ann, some_id()), "not_found", 404)
    assert_problem(put(ann, plain), "bad_request", 400)
    Media.objects.filter(pk=bad).update(state=State.REFUSED, reason="mismatch")
    assert_problem(put(ann, bad), "unsupported_media", 415)
    assert Rendition.objects.filter(name="thumb").count() == 0


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_stays(folder: Storage) -> None:
    ann = sign_in()
    media = encrypted(ann, direct(ann, sign_in()))
    codes: list[int] = []

    def work(number: int) -> None:
        try:
            codes.append(put(ann, media, b"picture %d" % number).status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 6
    assert content(folder, media).startswith(b"picture ")
    assert len([key for key in kept(folder) if "_thumb" in key]) == 1


@pytest.mark.parametrize("protected", [True, False])
def test_one_that_is_replaced_before_it_is_through_leaves_nothing(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    """Whoever replaces it leaves the object, which a row of the request before still names: that one takes it away at its end."""
    media, replace, calls = encrypted(ann, chat), thumbnails._replace, []

    def overtaken(*arguments: Any) -> Any:
        calls.append(arguments)
        before = replace(*arguments)
        if len(calls) == 1:
            assert put(ann, media, b"second").status_code == 200
        return before

    monkeypatch.setattr(thumbnails, "_replace", overtaken)
    if not protected:
        monkeypatch.setattr(contents, "drop_file", lambda row: row.delete())
    assert put(ann, media, b"first").status_code == 200
    assert content(folder, media) == b"second"
    assert Rendition.objects.filter(media=media).exclude(name="original").count() == 1
    assert len([key for key in kept(folder) if "_thumb" in key]) == (1 if protected else 2)
