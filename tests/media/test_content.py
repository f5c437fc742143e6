"""Where the files of a media are: for whom, in which form, and what the address gives."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from PIL import Image

from media import tasks
from media.models import Media, State
from media.pipeline.process import process
from media.storage import Storage
from tests.media.conftest import Person, assert_problem, direct, kept, sign_in, some_id
from tests.media.test_process import photo, sent

pytestmark = pytest.mark.django_db


def asked(person: Person, media: Any, **query: str) -> Any:
    return Client().get(f"/media/{media}/content", query, headers={"Authorization": f"Bearer {person.token}"})


async def fetched(url: str, **headers: str) -> Any:
    from django.test import AsyncClient

    answer = await AsyncClient().get(
        url, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    body = (
        b"".join([piece async for piece in answer.streaming_content]) if answer.streaming else answer.content
    )
    return answer, body


@pytest.mark.django_db(transaction=True)
async def test_a_photo_and_its_small_picture(folder: Storage) -> None:
    from asgiref.sync import sync_to_async

    def prepare() -> tuple[Person, Any, str, str]:
        ann = sign_in()
        media = sent(ann, direct(ann, sign_in()), photo())
        process(media)
        body = ann.api.get(f"/media/{media}").json()
        assert body["thumbnailUrl"] == f"/media/{media}/content?rendition=thumb"
        whole, small = asked(ann, media), asked(ann, media, rendition="thumb")
        assert (whole.status_code, small.status_code) == (302, 302)
        assert asked(ann, media).headers["Location"] == whole.headers["Location"], "the same for a while"
        connections.close_all()  # of a thread that ends before the database does
        return ann, media, whole.headers["Location"], small.headers["Location"]

    _, _, whole, small = await sync_to_async(prepare)()
    answer, data = await fetched(whole)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/webp"
    assert "immutable" in answer.headers["Cache-Control"]
    assert Image.open(io.BytesIO(data)).size == (800, 600)
    part, first = await fetched(whole, Range="bytes=0-9")
    assert (part.status_code, first) == (206, data[:10])
    assert (await fetched(whole, If_None_Match=answer.headers["ETag"]))[0].status_code == 304
    assert Image.open(io.BytesIO((await fetched(small))[1])).size == (150, 150)
    assert (await fetched(whole[:-2] + "00"))[0].status_code == 403


def test_what_is_not_ready_is_nowhere(ann: Person, chat: str) -> None:
    media = sent(ann, chat, photo())
    answer = asked(ann, media)
    assert_problem(answer, "unavailable", 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert_problem(asked(ann, media, rendition="thumb"), "unavailable", 503)


def test_what_was_refused_says_why(ann: Person, chat: str) -> None:
    media = sent(ann, chat, b"not a picture at all")
    process(media)
    assert assert_problem(asked(ann, media), "unsupported_media", 415)["details"] == {"reason": "not_allowed"}


def test_others_know_nothing_of_it(ann: Person, chat: str) -> None:
    media = sent(ann, chat, photo())
    process(media)
    assert_problem(asked(sign_in(), media), "not_found", 404)
    assert_problem(asked(ann, some_id()), "not_found", 404)
    assert_problem(asked(ann, media, rendition="huge"), "bad_request", 400)
    assert_problem(asked(ann, media, rendition="720p"), "not_found", 404)
    assert_problem(Client().get(f"/media/{media}/content"), "unauthenticated", 401)


def test_the_sweep_takes_what_nobody_needs(ann: Person, chat: str, folder: Storage, clock: Any) -> None:
    """What was lost on the way goes after a day; what still waits for its worker stays."""
    waiting, lost = sent(ann, chat, photo()), sent(ann, chat, photo())
    Media.objects.filter(pk=lost).update(state=State.REFUSED)
    assert tasks.sweep_storage() == {"uploads": 0, "incoming": 0, "media": 0, "renewed": 0}
    clock(25 * 3_600_000)
    assert tasks.sweep_storage() == {"uploads": 0, "incoming": 1, "media": 0, "renewed": 0}
    assert kept(folder) == [f"incoming/{waiting}"]
