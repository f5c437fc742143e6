"""``MEDIA=0``: no files are taken, and nothing else changes. What is said in production where nothing is scanned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client

from media.pipeline.process import process
from media.storage import Storage
from tests.gateway.peer import talking
from tests.media.conftest import Person, Tus, assert_problem, direct, kept, sign_in
from tests.media.test_content import asked
from tests.media.test_form import file, upload
from tests.media.test_process import photo, sent
from tests.media.test_uploads import Uploads
from whatsapp.wire import frames


@pytest.mark.django_db
def test_uploads_are_refused_and_downloads_go_on(folder: Storage, settings: Any) -> None:
    ann = sign_in()
    chat = direct(ann, sign_in())
    there, tus = sent(ann, chat, photo()), Tus(ann)
    begun = tus.begin(chat, 10).headers["Location"]
    assert tus.send(begun, 0, b"abc").status_code == 204
    before = kept(folder)
    settings.MEDIA = False
    answers = (
        upload(ann, {"file": file(), "fileType": "document", "conversationId": chat}),
        upload(ann, {}, content_type="application/json"),
        tus.begin(chat, 10),
        tus.send(begun, 3, b"defghij"),
        tus.ask("POST", begun, b"defghij", X_HTTP_Method_Override="PATCH", Upload_Offset=3),
    )
    headers = {"Authorization": f"Bearer {ann.token}"}
    thumbnail = Client().put(f"/media/{there}/thumbnail", b"x", "application/octet-stream", headers=headers)
    for answer in (*answers, thumbnail):
        assert_problem(answer, "feature_disabled", 501)
    assert kept(folder) == before
    assert tus.offset(begun) == 3
    assert process(there) == "ready"
    assert asked(ann, there).status_code == 302
    settings.MEDIA = True
    assert tus.send(begun, 3, b"defghij").status_code == 204


@pytest.mark.django_db
def test_strangers_are_not_told(settings: Any) -> None:
    settings.MEDIA = False
    nobody = Person("", "", "", "not a token", "")
    assert_problem(upload(nobody, {}), "unauthenticated", 401)
    assert_problem(Tus(nobody).ask("POST", "/media/tus"), "unauthenticated", 401)


@pytest.mark.needs_system
async def test_text_goes_on_in_a_whole_system(own_stack: Callable[..., Any]) -> None:
    system = own_stack(worker=False, env={"MEDIA": "0"})
    async with talking(system) as (ann, bob, conversation):
        assert ann.phone is not None
        uploads = Uploads(ann.phone)
        for path in ("/media/upload", "/media/tus"):
            answer = await uploads.ask("POST", path, b"bytes", Upload_Length="5")
            assert (answer.status_code, answer.json()["code"]) == (501, "feature_disabled"), answer.text
        assert (await ann.ask(ann.message(conversation, b"only words"))).status == "sent"
        assert (await bob.expect(frames.Message)).encrypted_content == b"only words"


@pytest.mark.parametrize(("url", "said"), [("", ["media.W001"]), ("tcp://127.0.0.1:3310", [])])
def test_who_scans_nothing_is_warned(settings: Any, url: str, said: list[str]) -> None:
    settings.CLAMD_URL = url
    assert [each.id for each in run_checks(tags=["media"], include_deployment_checks=True)] == said
    assert run_checks(tags=["media"]) == [], "a development system is not told again and again"
