"""Files in the admin: who sees what of them, and what staff may do."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core import signing
from django.test import Client
from PIL import Image

from media import tasks
from media.models import BlockedContent, Media, State
from media.pipeline.process import process
from media.services import work
from media.storage import Storage, storage
from tests.media.conftest import Person, assert_problem, direct, kept, sign_in
from tests.media.test_content import asked
from tests.media.test_contents import carried
from tests.media.test_process import made, photo, sent
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")

LIST = "/admin/media/media/"
REASON = "reported by three people"
Make = Callable[..., Staff]


@pytest.fixture
def ready(ann: Person, chat: str) -> Media:
    """A photo."""
    media = sent(ann, chat, photo())
    assert process(media) == State.READY
    return Media.objects.get(pk=media)


def page_of(media: Any) -> str:
    return f"{LIST}{media}/change/"


def picture_in(page: str) -> str:
    found = re.search(r'<img src="([^"]+/picture/[^"]+)"', page)
    assert found is not None, "no picture"
    return found[1]


def rows(staff: Staff, query: str) -> set[uuid.UUID]:
    table = staff.page(f"{LIST}?{query}").split("<table", 1)[-1]
    return {media.pk for media in Media.objects.all() if str(media.pk) in table}


def entries(media: Any) -> list[str]:
    return [
        each.get_change_message() for each in LogEntry.objects.filter(object_id=str(media)).order_by("pk")
    ]


def test_search_and_filters(superuser: Staff, ann: Person, chat: str, ready: Media) -> None:
    sealed = sent(ann, chat, b"sealed", "document", encrypted="true")
    refused = sent(ann, chat, b"none of it", "audio", "audio/mpeg")
    process(sealed)
    process(refused)
    everything = {ready.pk, sealed, refused}
    assert rows(superuser, "") == everything
    for query, found in {
        f"q={ready.pk}": {ready.pk},
        f"q={ready.sha256}": {ready.pk},
        f"q={ready.sha256.upper()}": {ready.pk},
        f"q={made(ready.pk)['full'].sha256}": {ready.pk},
        f"q={ann.user_id}": everything,
        f"q={uuid.uuid4()}": set(),
        f"q={'0' * 64}": set(),
        "q=sealed": set(),
        "state__exact=ready": {ready.pk, sealed},
        "state__exact=refused": {refused},
        "kind__exact=audio": {refused},
        "encrypted__exact=1": {sealed},
        "encrypted__exact=0&state__exact=ready": {ready.pk},
    }.items():
        assert rows(superuser, query) == found, query


def test_a_page_says_what_became_of_it(
    superuser: Staff,
    ann: Person,
    chat: str,
    ready: Media,
    limits: Any,
) -> None:
    carried(ready.pk, now_ms())
    bob = sign_in()
    limits(media_bytes_per_hour=2**20)  # 291 bytes a second are given back
    page = superuser.page(page_of(ready.pk))
    assert f"/admin/accounts/account/{ann.user_id}/change/" in page
    assert ann.phone not in page
    for name, file in made(ready.pk).items():
        assert name in page
        assert file.sha256 in page
    assert re.search(r"Messages that carry it.*?>\s*1\s*<", page, re.DOTALL)
    uploaded = Media.objects.get(pk=sent(bob, direct(bob, ann), photo()))
    page = superuser.page(page_of(uploaded.pk))
    counted = re.search(r"uploader&#x27;s hour.*?([\d.]+) KiB of 1.0 MiB", page, re.DOTALL)
    assert counted is not None
    assert 0.5 * uploaded.size < float(counted[1]) * 1024 < 1.01 * uploaded.size
    assert re.search(r"Of its day.*?0 B of 4.0 GiB", page, re.DOTALL)
    waiting = sent(ann, chat, photo((300, 200)))
    assert "soon" in superuser.page(page_of(waiting))
    assert work.claim(waiting) is not None
    assert "a worker has it" in superuser.page(page_of(waiting))


def test_a_picture_is_for_staff_and_for_some_minutes(
    superuser: Staff,
    make_staff: Make,
    ready: Media,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = superuser.page(LIST)
    address = picture_in(page)
    assert 'type="checkbox" aria-label="Show the picture' in page, "it is blurred until somebody clicks on it"
    answer = superuser.client.get(address)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.content)).size == (150, 150)
    assert "no-store" in answer.headers["Cache-Control"]
    assert make_staff("media.view_media").client.get(address).status_code == 200
    assert make_staff("media.view_blockedcontent").client.get(address).status_code == 403
    assert Client().get(address).status_code == 302, "to the login"
    for other in (address.replace("?s=", "?s=x"), address.partition("?")[0]):
        assert superuser.client.get(other).status_code == 403
    other = str(uuid.uuid4())
    assert superuser.client.get(address.replace(str(ready.pk), other)).status_code == 403
    real = signing.time.time
    monkeypatch.setattr(signing.time, "time", lambda: real() + 601)
    assert superuser.client.get(address).status_code == 403


def test_what_is_encrypted_is_shown_to_nobody(superuser: Staff, ann: Person, chat: str) -> None:
    media = sent(ann, chat, photo(), encrypted="true")
    assert process(media) == State.READY
    sealed = Client().put(
        f"/media/{media}/thumbnail", b"sealed", content_type="application/octet-stream",
        headers={"Authorization": f"Bearer {ann.token}"},
    )  # fmt: skip
    assert sealed.json()["thumbnailUrl"] is not None
    page = superuser.page(page_of(media))
    assert "nobody here can see it" in page
    assert "/picture/" not in page + superuser.page(LIST)
    signed = signing.dumps(str(media), salt="staff.media.picture")
    assert superuser.client.get(f"{LIST}{media}/picture/?s={signed}").status_code == 404
    for method in ("get", "post"):
        answer = getattr(superuser.client, method)(f"{LIST}{media}/look/", {"reason": REASON})
        assert answer.headers["Location"] == page_of(media)
    assert "nobody here can read it" in superuser.page(page_of(media))
    assert entries(media) == []


def test_who_looks_at_a_file_says_why(superuser: Staff, make_staff: Make, ready: Media) -> None:
    path = f"{LIST}{ready.pk}/look/"
    looks_not = make_staff("media.view_media", "media.retry_media", "media.block_media")
    assert "Look at the file" not in looks_not.page(page_of(ready.pk))
    assert looks_not.client.post(path, {"reason": REASON}).status_code == 403
    assert "/media/blobs/" not in superuser.page(path), "first the question"
    assert "/media/blobs/" not in superuser.client.post(path, {"reason": "no"}).content.decode()
    assert entries(ready.pk) == []
    page = superuser.client.post(path, {"reason": REASON}).content.decode()
    links = re.findall(r'href="([^"]*/media/blobs/[^"]+)" target="_blank"', page)
    assert len(links) == 2
    for link, file in zip(links, (made(ready.pk)["full"], made(ready.pk)["thumb"]), strict=True):
        assert file.key in link
    assert entries(ready.pk) == [f"Looked at: {REASON}"]


def test_who_may_not_act_sees_no_action(make_staff: Make, ready: Media) -> None:
    staff = make_staff("media.view_media")
    for page in (staff.page(page_of(ready.pk)), staff.page(LIST)):
        for text in ("Try again", "Block by hash", "Look at the file"):
            assert text not in page
    retries = make_staff("media.view_media", "media.retry_media").page(page_of(ready.pk))
    assert "Try again…" in retries
    assert "Block by hash" not in retries


def test_try_again(
    superuser: Staff,
    ann: Person,
    chat: str,
    folder: Storage,
    enqueued: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    """What five workers died of, and what waits for a long time."""
    dead, waits = sent(ann, chat, photo()), sent(ann, chat, photo((300, 200)))
    Media.objects.filter(pk=dead).update(attempts=work.MOST_ATTEMPTS)
    assert process(dead) == State.REFUSED
    Media.objects.filter(pk=waits).update(state=State.PROCESSING, leased_until=now_ms() + 600_000, attempts=3)
    enqueued.clear()
    for media in (dead, waits):
        path = f"{LIST}{media}/retry/"
        assert superuser.client.post(path, {"reason": "no"}).status_code == 200, "why?"
        for _ in range(2):
            with django_capture_on_commit_callbacks(execute=True):
                assert superuser.client.post(path, {"reason": REASON}).url == page_of(media)
        assert "There is nothing to try again." in superuser.page(page_of(media))
        assert entries(media) == [f"Tried again: {REASON}"], "once"
        assert process(media) == State.READY
    assert enqueued == [tasks.process, tasks.process]
    assert len(kept(folder)) == 4


def test_what_somebody_works_on_and_what_ended_well_or_for_good_is_left_alone(
    superuser: Staff,
    ann: Person,
    chat: str,
    ready: Media,
) -> None:
    busy, bad = sent(ann, chat, photo()), sent(ann, chat, b"no picture")
    claimed = work.claim(busy)
    assert claimed is not None
    process(bad)
    chosen = {"action": "retry_chosen", "_selected_action": [str(busy), str(bad), str(ready.pk)]}
    assert superuser.client.post(LIST, chosen).status_code == 200, "why?"
    superuser.client.post(LIST, {**chosen, "confirmed": "1", "reason": REASON})
    assert "Files that are worked on again: 0" in superuser.page(LIST)
    work.beat(claimed)  # or it would raise
    assert Media.objects.get(pk=bad).reason == "not_allowed"
    assert Media.objects.get(pk=ready.pk).state == State.READY


def test_what_was_refused_for_want_of_resources_goes_after_a_day(
    ann: Person, chat: str, folder: Storage, clock: Any
) -> None:
    dead = sent(ann, chat, photo())
    Media.objects.filter(pk=dead).update(attempts=work.MOST_ATTEMPTS)
    process(dead)
    assert kept(folder) == [f"incoming/{dead}"]
    clock(25 * 3_600_000)
    tasks.drop_unused()
    assert kept(folder) == []
    assert not work.retry(dead)


def test_block_and_unblock(
    superuser: Staff,
    make_staff: Make,
    ann: Person,
    ready: Media,
    enqueued: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    path = f"{LIST}{ready.pk}/block/"
    looks = make_staff(
        "media.view_media", "media.retry_media", "media.look_media", "media.view_blockedcontent"
    )
    assert looks.client.post(path, {"reason": REASON}).status_code == 403
    chosen = {
        "action": "block_chosen",
        "_selected_action": [str(ready.pk)],
        "confirmed": "1",
        "reason": REASON,
    }
    looks.client.post(LIST, chosen)
    assert superuser.client.post(path, {}).status_code == 200, "why?"
    assert not BlockedContent.objects.exists()
    enqueued.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert superuser.client.post(path, {"reason": REASON}).url == page_of(ready.pk)
    assert enqueued == [tasks.drop_blocked]
    assert_problem(asked(ann, ready.pk), "gone", 410)
    assert entries(ready.pk) == [f"Blocked {ready.sha256}: {REASON}"]
    superuser.client.post(path, {"reason": REASON})
    page = superuser.page(page_of(ready.pk))
    assert "blocked already" in page
    blocked = f"/admin/media/blockedcontent/{ready.sha256}"
    assert f'href="{blocked}/change/"' in page
    tasks.drop_blocked()
    assert "/picture/" not in superuser.page(LIST)
    page = superuser.page(f"{blocked}/change/")
    assert superuser.user.username in page
    assert REASON in page
    assert "Unblock" not in looks.page(f"{blocked}/change/")
    assert looks.client.post(f"{blocked}/unblock/", {"reason": REASON}).status_code == 403
    assert superuser.client.post(f"{blocked}/unblock/", {}).status_code == 200, "why?"
    assert (
        superuser.client.post(f"{blocked}/unblock/", {"reason": REASON}).url == "/admin/media/blockedcontent/"
    )
    assert not BlockedContent.objects.exists()
    assert entries(ready.sha256) == [f"Unblocked: {REASON}"]


def test_a_hash_that_nobody_has_compared_is_not_blocked(
    superuser: Staff,
    ann: Person,
    chat: str,
) -> None:
    """A client could name that of somebody else's picture."""
    media = sent(ann, chat, photo(), sha256="a" * 64)
    superuser.client.post(f"{LIST}{media}/block/", {"reason": REASON})
    assert "never became ready" in superuser.page(page_of(media))
    assert not BlockedContent.objects.exists()
    assert entries(media) == []


def test_a_storage_without_the_picture(superuser: Staff, ready: Media) -> None:
    address = picture_in(superuser.page(page_of(ready.pk)))
    storage().delete([made(ready.pk)["thumb"].key])
    assert superuser.client.get(address).status_code == 404
