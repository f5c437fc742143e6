"""Content that staff have blocked: nobody sends it, nobody fetches it, nobody brings it back."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from media import tasks
from media.models import BlockedContent, Media, State
from media.pipeline import process as pipeline
from media.pipeline.process import process
from media.services import blocking
from media.storage import Storage, StorageUnavailable
from tests.gateway.peer import talking
from tests.gateway.phone import Phone, Runs
from tests.media.conftest import Person, assert_problem, direct, kept, sign_in
from tests.media.test_content import asked
from tests.media.test_process import made, photo, sent
from tests.media.test_references import carry, fetched
from tests.media.test_uploads import Uploads
from tests.staff.test_live import manage
from tests.support.patience import until
from whatsapp.wire import frames

database = pytest.mark.django_db


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def block(data: bytes) -> bool:
    staff, _ = User.objects.get_or_create(username="a-moderator")
    return blocking.block(sha256=hash_of(data), reason="reported", staff=staff)


@database
@pytest.mark.parametrize("encrypted", ["true", "false"])
def test_whoever_has_it_has_it_no_more(
    ann: Person,
    chat: str,
    folder: Storage,
    told: Any,
    django_capture_on_commit_callbacks: Any,
    encrypted: str,
) -> None:
    data, bob = photo(), sign_in()
    one, other = (
        sent(ann, chat, data, encrypted=encrypted),
        sent(bob, direct(bob, ann), data, encrypted=encrypted),
    )
    harmless = sent(ann, chat, photo(), encrypted=encrypted)
    for media in (one, other, harmless):
        assert process(media) == State.READY
    assert block(data)
    assert not block(data), "once"
    for person, media in ((ann, one), (bob, other)):
        assert_problem(asked(person, media), "gone", 410)
        assert_problem(asked(person, media, rendition="thumb"), "gone", 410)
        body = person.api.get(f"/media/{media}").json()
        assert (body["state"], body["reason"]) == ("refused", "blocked")
    read = told(bob.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        assert tasks.drop_blocked() == 2
    (notice,) = read()
    assert (notice["data"]["mediaId"], notice["data"]["reason"]) == (str(other), "blocked")
    assert tasks.drop_blocked() == 0
    assert sorted(kept(folder)) == sorted(each.key for each in made(harmless).values())
    assert asked(ann, harmless).status_code == 302


@database
@pytest.mark.parametrize("encrypted", ["true", "false"])
def test_new_uploads_of_it_are_refused_until_it_is_unblocked(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch, encrypted: str
) -> None:
    data = photo()
    block(data)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_make", lambda *args: pytest.fail("it was worked on"))
        media = sent(ann, chat, data, encrypted=encrypted)
        assert process(media) == State.REFUSED
    row = Media.objects.get(pk=media)
    assert (row.reason, row.sha256) == ("blocked", hash_of(data))
    assert assert_problem(asked(ann, media), "unsupported_media", 415)["details"] == {"reason": "blocked"}
    assert kept(folder) == []
    assert blocking.unblock(sha256=hash_of(data))
    assert not blocking.unblock(sha256=hash_of(data)), "once"
    assert process(media) == "", "what was refused stays refused"
    assert process(sent(ann, chat, data, encrypted=encrypted)) == State.READY


def _blocks_on_the_way(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    real = pipeline.keep

    def keep(media: Media, rendition: Any) -> None:
        real(media, rendition)
        block(data)

    monkeypatch.setattr(pipeline, "keep", keep)


@database
def test_what_is_blocked_while_it_is_worked_on(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photo()
    media = sent(ann, chat, data)
    _blocks_on_the_way(monkeypatch, data)
    assert process(media) == State.REFUSED
    assert Media.objects.get(pk=media).reason == "blocked"
    assert made(media) == {}
    assert kept(folder) == []


@database
def test_twin_without_the_second_look_it_becomes_ready(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photo()
    media = sent(ann, chat, data)
    _blocks_on_the_way(monkeypatch, data)
    monkeypatch.setattr(blocking, "passing", lambda sha256: contextlib.nullcontext())
    assert process(media) == State.READY


@database
def test_what_told_its_hash_is_refused_before_its_worker_is_done(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker has lost it, and says no more about it."""
    data = photo()
    media = sent(ann, chat, data, sha256=hash_of(data))
    _blocks_on_the_way(monkeypatch, data)
    assert process(media) == ""
    assert Media.objects.get(pk=media).state == State.REFUSED
    assert tasks.drop_blocked() == 0, "a worker may be writing until its lease ends"
    Media.objects.filter(pk=media).update(leased_until=0)
    assert tasks.drop_blocked() == 1
    assert kept(folder) == []


@pytest.mark.django_db(transaction=True)
def test_who_is_about_to_be_ready_is_waited_for(ann: Person, chat: str, folder: Storage) -> None:
    """Blocking waits for a worker between its last look and the word that the file is ready, and then finds that file."""
    data = photo()
    media = sent(ann, chat, data)
    with blocking.passing(hash_of(data)):
        done = threading.Event()

        def run() -> None:
            try:
                block(data)
                done.set()
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        assert not done.wait(0.5)
        Media.objects.filter(pk=media).update(state=State.READY, sha256=hash_of(data))
    thread.join()
    assert done.is_set()
    assert Media.objects.get(pk=media).reason == "blocked"


@database
def test_a_storage_that_is_away_is_asked_again(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = photo()
    media = sent(ann, chat, data)
    process(media)
    block(data)

    def away(*args: Any) -> None:
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "delete", away)
        assert tasks.drop_blocked() == 0
    assert len(kept(folder)) == 2
    assert_problem(asked(ann, media), "gone", 410)
    tasks.drop_unused()  # every hour
    assert kept(folder) == []


# -- a whole system ------------------------------------------------------------------------------------------------------------


async def uploaded(phone: Phone, conversation: str, data: bytes) -> tuple[str, dict[str, Any]]:
    """An encrypted file and what became of it."""
    told = {"fileType": "document", "conversationId": conversation, "encrypted": "true"}
    answer = await Uploads(phone).ask(
        "POST",
        "/media/tus",
        data,
        Upload_Length=str(len(data)),
        Upload_Metadata=",".join(f"{n} {base64.b64encode(v.encode()).decode()}" for n, v in told.items()),
        Content_Type="application/offset+octet-stream",
    )
    assert answer.status_code == 201, answer.text
    media = answer.headers["Location"].rpartition("/")[2]
    body: dict[str, Any] = {}

    async def worked_on() -> bool:
        body.update((await phone.rest("GET", f"/media/{media}")).json())
        return body["state"] in ("ready", "refused")

    await until(worked_on, "the work is done", 60)
    return media, body


@pytest.mark.needs_system
async def test_a_message_carries_it_no_more(stack: Runs) -> None:
    data = uuid.uuid4().bytes
    async with talking(stack) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        media, body = await uploaded(ann.phone, conversation, data)
        assert body["state"] == "ready"
        assert (await carry(ann, conversation, media)).status == "sent"
        assert (await bob.expect(frames.Message)).media_url == f"/media/{media}/content"
        assert (await fetched(bob.phone, media)).content == data
        signed = (await bob.phone.rest("GET", f"/media/{media}/content")).headers["Location"]
        manage(stack, "shell", "--no-imports", "-c", (
            "from django.contrib.auth.models import User; from media import tasks; from media.services import blocking; "
            "staff, _ = User.objects.get_or_create(username='a-moderator'); "
            f"blocking.block(sha256={hash_of(data)!r}, reason='reported', staff=staff); tasks.drop_blocked()"
        ))  # fmt: skip
        for phone in (ann.phone, bob.phone):
            answer = await fetched(phone, media)
            assert (answer.status_code, answer.json()["code"]) == (410, "gone")
        assert (await bob.phone.rest("GET", signed)).status_code == 404, (
            "an address that was given out before"
        )
        for peer in (ann, bob):
            refused = await carry(peer, conversation, media)
            assert (refused.code, refused.retryable) == ("unsupported_media", False)
        again, body = await uploaded(bob.phone, conversation, data)
        assert (body["state"], body["reason"]) == ("refused", "blocked")
        assert (await carry(bob, conversation, again)).code == "unsupported_media"
        assert (await ann.ask(ann.message(conversation, b"only words"))).status == "sent"


@database
def test_the_row_says_who_and_why(ann: Person) -> None:
    block(b"something")
    row = BlockedContent.objects.get(pk=hash_of(b"something"))
    assert row.staff is not None
    assert (row.staff.get_username(), row.reason) == ("a-moderator", "reported")
    row.staff.delete()
    row.refresh_from_db()
    assert row.staff is None, "it stays blocked"
