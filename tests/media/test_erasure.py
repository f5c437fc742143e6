"""An account ends: what it has uploaded goes, what others have uploaded stays. In a folder, and in a bucket."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db import connection, transaction

from accounts.models import Account, Case
from accounts.services import cases
from accounts.services.recycling import retire
from media import erasure, tasks
from media.models import Media, Reference, Rendition, State, Upload
from media.pipeline import process as pipeline
from media.pipeline.process import process
from media.services import contents, holds, uploads, work
from media.storage import NotStored, Storage, storage
from media.uploads.receiver import Receiver
from tests.media.conftest import Person, Tus, assert_problem, direct, kept, sign_in
from tests.media.incoming import MIB, some_bytes
from tests.media.test_contents import carried
from tests.media.test_process import made, photo, sent
from tests.support import early
from tests.support.buckets import backend_options
from tests.support.patience import LONG
from tests.support.s3 import S3
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)


class Place(NamedTuple):
    storage: Storage
    #: What a process of its own needs to find it.
    env: dict[str, str]


def in_bucket(variables: dict[str, str], settings: Any) -> Place:
    settings.STORAGES = {**settings.STORAGES, "default": backend_options(variables)}
    return Place(storage(), variables)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.needs_s3)])
def place(request: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    if request.param == "folder":
        return Place(request.getfixturevalue("folder"), {})
    server: S3 = request.getfixturevalue("s3_server")
    return in_bucket({**server.variables(), "S3_PREFIX": server.new_prefix()}, settings)


@pytest.fixture(autouse=True)
def followed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Tasks that tasks have enqueued; there is no broker here."""
    found: list[Any] = []
    monkeypatch.setattr("delivery.tasks.enqueue", lambda task, *args: found.append((task.name, *args)))
    return found


def end(person: Person, ago: int | None = None) -> str:
    """The account ended ``ago`` ms before now, by default when nothing that it has sent is kept for anybody any more."""
    with transaction.atomic():
        retire(
            account=Account.objects.get(pk=person.user_id),
            now=now_ms() - (contents.carried_ms() if ago is None else ago),
        )
    return person.user_id


def begun(person: Person, chat: str) -> uuid.UUID:
    """An upload under way, with a part and a tail."""
    answer = Tus(person).begin(chat, 9 * MIB, some_bytes(8 * MIB), metadata={"filename": "secret.pdf"})
    assert answer.status_code == 201, answer.content
    return uuid.UUID(answer.headers["Location"].rpartition("/")[2])


def two_people() -> tuple[Person, Person, str]:
    ann, bob = sign_in(), sign_in()
    return ann, bob, direct(ann, bob)


def nothing_left_of(person: Person, place: Place) -> None:
    assert list(place.storage.open_uploads(2**53)) == []
    assert kept(place.storage) == []
    assert not Upload.objects.filter(media__owner=person.user_id).exists()
    assert not Rendition.objects.filter(media__owner=person.user_id).exists()
    assert set(Media.objects.filter(owner=person.user_id).values_list("state", flat=True)) == {State.GONE}
    assert erasure.ended() == []


def names(storage: Storage, key: str, person: Person) -> bool:
    """Whether what is beside the object names this user."""
    return contents.is_of(key, storage.describe(key).metadata["user-id"], person.user_id)


def test_what_it_uploaded_goes_and_what_others_uploaded_stays(place: Place) -> None:
    ann, bob, chat = two_people()
    shared = photo()
    both, own, his = sent(ann, chat, shared), sent(ann, chat, photo((300, 200))), sent(bob, chat, shared)
    for media in (both, own, his):
        process(media)
        carried(media, now_ms())
    refused = sent(ann, chat, b"none")
    process(refused)
    waiting, under_way = sent(ann, chat, photo((200, 100))), begun(ann, chat)
    Media.objects.filter(pk=both).update(upload_metadata="filename c2VjcmV0LnBkZg==")
    before = {each.key: place.storage.read(each.key) for each in made(his).values()}
    assert names(place.storage, made(his)["full"].key, ann)
    assert tasks.erase(ann.user_id) is False, "not while it lives"
    assert len(kept(place.storage)) == 6

    assert tasks.erase(end(ann)) is False
    assert {key: place.storage.read(key) for key in kept(place.storage)} == before
    assert list(place.storage.open_uploads(2**53)) == []
    assert Media.objects.get(pk=his).state == State.READY
    for each in made(his).values():
        assert names(place.storage, each.key, bob), "it is his now"
        assert place.storage.describe(each.key).media_type == each.media_type
    for media in Media.objects.filter(pk__in=(both, own, refused, waiting, under_way)):
        assert (media.state, media.media_type, media.sha256, media.size) == (State.GONE, "", "", 0)
        assert (media.conversation_id, media.request, media.reason) == (None, None, "")
        assert media.upload_metadata == ""
    assert not Upload.objects.exists()
    assert process(waiting) == ""
    assert erasure.ended() == []
    assert tasks.erase(ann.user_id) is False, "said twice"

    tasks.erase(end(bob))
    nothing_left_of(bob, place)


def test_what_it_has_sent_stays_as_long_as_its_messages(place: Place) -> None:
    """Who was away when the account ended finds the message, and its picture."""
    ann, _, chat = two_people()
    shown, unsent = sent(ann, chat, photo()), sent(ann, chat, photo((300, 200)))
    for media in (shown, unsent):
        process(media)
    carried(shown, now_ms(), conversation_id=chat, sender_id=ann.user_id)
    files = sorted(each.key for each in made(shown).values())
    assert tasks.erase(end(ann, ago=contents.carried_ms() - 60_000)) is False
    assert sorted(kept(place.storage)) == files
    assert Media.objects.get(pk=shown).state == State.READY
    assert Media.objects.get(pk=unsent).state == State.GONE
    assert erasure.ended() == [], "nothing is due"

    Account.objects.filter(pk=ann.user_id).update(retired_at=now_ms() - contents.carried_ms())
    assert erasure.ended() == [uuid.UUID(ann.user_id)]
    assert tasks.erase(ann.user_id) is False
    nothing_left_of(ann, place)


def test_a_reported_file_stays_until_its_case_is_decided(place: Place) -> None:
    """Who uploaded it cannot take the evidence away by leaving."""
    ann, _, chat = two_people()
    reported = sent(ann, chat, photo())
    process(reported)
    with transaction.atomic():
        case = cases.open_by_trigger(uuid.UUID(ann.user_id), "reports", {"reports": 3})
        holds.hold([reported], case, now_ms())
    files = kept(place.storage)
    assert tasks.erase(end(ann)) is False
    assert kept(place.storage) == files
    assert erasure.ended() == [], "nothing is due"
    Case.objects.filter(pk=case.pk).update(state=Case.State.CLOSED)
    assert tasks.erase(ann.user_id) is False
    nothing_left_of(ann, place)


def test_what_somebody_sent_on_is_theirs_then(place: Place) -> None:
    ann, bob, chat = two_people()
    carl = sign_in()
    media = sent(ann, chat, photo())
    process(media)
    carried(media, now_ms(), conversation_id=chat, sender_id=ann.user_id)
    carried(media, now_ms(), conversation_id=direct(carl, ann), sender_id=carl.user_id)
    theirs = direct(bob, sign_in())
    Media.objects.filter(pk=media).update(upload_metadata="filename c2VjcmV0LnBkZg==")
    carried(media, now_ms(), conversation_id=theirs, sender_id=bob.user_id)
    tasks.erase(end(carl))
    assert tasks.erase(end(ann)) is False
    found = Media.objects.get(pk=media)
    assert (str(found.owner_id), str(found.conversation_id), found.state) == (
        bob.user_id,
        theirs,
        State.READY,
    )
    assert found.upload_metadata == "", "it was told by who is gone"
    for each in made(media).values():
        assert names(place.storage, each.key, bob)
    assert {str(each.sender_id) for each in Reference.objects.filter(media=media)} == {
        bob.user_id,
        carl.user_id,
    }
    assert bob.api.get(f"/media/{media}/content").status_code == 302
    assert erasure.ended() == []
    tasks.erase(end(bob))
    nothing_left_of(bob, place)


def test_an_account_that_ends_says_so(folder: Storage, enqueued: list[Any]) -> None:
    end(sign_in())
    assert tasks.erase in enqueued


def test_a_step_is_bounded(folder: Storage, monkeypatch: pytest.MonkeyPatch, followed: list[Any]) -> None:
    ann, _, chat = two_people()
    media = [sent(ann, chat, photo((90, 60 + number))) for number in range(3)]
    for each in media:
        process(each)
    monkeypatch.setattr(erasure, "STEP", 2)
    end(ann)
    assert tasks.erase(ann.user_id) is True
    assert sorted(Media.objects.values_list("state", flat=True)) == [State.GONE, State.GONE, State.READY]
    assert len(kept(folder)) == 2
    assert followed == [("media.tasks.erase", ann.user_id)]
    assert tasks.erase(ann.user_id) is False
    assert kept(folder) == []


def alone(place: Place, tmp_path: Path, postgres: Any, user: str, die: str) -> int:
    """The exit code of a process that erases and is killed at a point."""
    (tmp_path / "faults").mkdir(exist_ok=True)
    (tmp_path / "faults" / f"kill-{die}").touch()
    database = postgres.url(connection.settings_dict["NAME"])
    ran = subprocess.run(
        [
            *(sys.executable, "manage.py", "shell", "--no-imports", "-c"),
            f"from media import erasure; import uuid; erasure.step(uuid.UUID({user!r}))",
        ],
        env={
            **os.environ, **place.env, "WHATSAPP_TEST_BUILD": "1", "WHATSAPP_DATA": str(tmp_path),
            "DATABASE_URL": database,
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert not (tmp_path / "faults" / f"kill-{die}").exists(), ran.stderr[-2000:]
    return ran.returncode


@pytest.mark.parametrize("point", ["media-closed", "media-drop"])
def test_whoever_is_killed_is_followed_by_another(
    place: Place, point: str, tmp_path: Path, postgres_server: Any, followed: list[Any]
) -> None:
    ann, _, chat = two_people()
    process(sent(ann, chat, photo()))
    begun(ann, chat)
    end(ann)
    assert alone(place, tmp_path, postgres_server, ann.user_id, point) == -signal.SIGKILL
    assert kept(place.storage) != [], "nobody else has done it"
    assert set(Media.objects.values_list("state", flat=True)) == {State.GONE}
    assert Upload.objects.get().metadata == "" if point == "media-closed" else not Upload.objects.exists()
    assert tasks.erase_ended() == 1
    assert followed == [("media.tasks.erase", ann.user_id)]
    assert tasks.erase(ann.user_id) is False
    nothing_left_of(ann, place)


@pytest.fixture
def own_s3() -> Iterator[S3]:
    with S3(early.folder("s3")) as server:
        yield server


@pytest.mark.needs_s3
def test_a_storage_that_is_away_is_asked_again(own_s3: S3, settings: Any, followed: list[Any]) -> None:
    settings.S3_BREAKER_OPEN_MS = 100
    place = in_bucket({**own_s3.variables(), "S3_PREFIX": own_s3.new_prefix()}, settings)
    ann, bob, chat = two_people()
    media = sent(ann, chat, photo())
    process(media)
    begun(ann, chat)
    end(ann)
    own_s3.kill()
    for _ in range(2):
        assert tasks.erase(ann.user_id) is True
    assert followed == [], "it waits for its turn"
    assert Media.objects.get(pk=media).state == State.GONE, "but nothing is shown any more"
    assert_problem(bob.api.get(f"/media/{media}/content"), "not_found", 404)
    assert erasure.ended() == [uuid.UUID(ann.user_id)]
    own_s3.start()
    deadline = time.monotonic() + LONG
    while tasks.erase(ann.user_id):
        assert time.monotonic() < deadline, "it is not asked again"
        time.sleep(0.1)
    nothing_left_of(ann, place)


def test_what_comes_at_the_last_moment_goes_too(folder: Storage) -> None:
    """A request that was let in before: its upload begins, and another one ends, when the rest is gone."""
    ann, _, chat = two_people()
    tasks.erase(end(ann))
    account = Account.objects.get(pk=ann.user_id)
    media = Media.objects.create(
        id=uuid.uuid4(), owner=account, kind="image", created_at=now_ms(), conversation_id=chat
    )
    Upload.objects.create(media=media, length=6 * MIB, expires_at=now_ms() + 10**6)
    receiver = Receiver(uploads.hold(account=account, media_id=media.pk, offset=0), folder)
    receiver.open()
    receiver.feed(some_bytes(5 * MIB))
    assert len(list(folder.open_uploads(2**53))) == 1
    assert erasure.ended() == [account.pk]
    assert tasks.erase(ann.user_id) is False
    assert list(folder.open_uploads(2**53)) == []
    receiver.feed(some_bytes(MIB))
    with pytest.raises((uploads.Lost, NotStored)):
        receiver.close()
    nothing_left_of(ann, Place(folder, {}))


def ends_while_a_thumbnail_is_stored(
    folder: Storage, monkeypatch: pytest.MonkeyPatch, *, lease_over: bool
) -> Person:
    """A worker has made a picture, and its owner's account ends before the last bytes are in the storage."""
    ann, _, chat = two_people()
    media = sent(ann, chat, photo())
    real = type(folder).put

    def late(self: Storage, key: str, *args: Any) -> int:
        if key.endswith("_thumb.jpg"):
            end(ann)
            if lease_over:
                Media.objects.filter(pk=media).update(leased_until=0)
            assert tasks.erase(ann.user_id) is False
        return real(self, key, *args)

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "put", late)
        assert process(media) == ""
    return ann


def test_a_worker_that_is_at_it_leaves_nothing(folder: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = ends_while_a_thumbnail_is_stored(folder, monkeypatch, lease_over=False)
    assert len(kept(folder)) == 3, "the original, and both of what was made: the worker might still write"
    Media.objects.update(leased_until=0)
    assert erasure.ended() == [uuid.UUID(ann.user_id)]
    assert tasks.erase(ann.user_id) is False
    nothing_left_of(ann, Place(folder, {}))


def test_a_worker_that_was_away_for_too_long_takes_back_what_it_wrote(
    folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = ends_while_a_thumbnail_is_stored(folder, monkeypatch, lease_over=True)
    nothing_left_of(ann, Place(folder, {}))


def test_twin_a_worker_that_takes_nothing_back(folder: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "let_go", lambda key: None)
    ends_while_a_thumbnail_is_stored(folder, monkeypatch, lease_over=True)
    assert erasure.ended() == []
    assert len(kept(folder)) == 1


class Killed(BaseException):
    pass


def killed_before_it_says_what_it_stored(ann: Person, chat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    media = sent(ann, chat, photo())

    def die(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(work, "add", die)
        with pytest.raises(Killed):
            process(media)
    Media.objects.filter(pk=media).update(leased_until=0)


def test_what_a_killed_worker_stored_is_known(folder: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, _, chat = two_people()
    killed_before_it_says_what_it_stored(ann, chat, monkeypatch)
    assert len(kept(folder)) == 2
    tasks.erase(end(ann))
    nothing_left_of(ann, Place(folder, {}))


def test_twin_without_a_note_what_a_killed_worker_stored_stays(
    folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "storing", lambda *args: contextlib.nullcontext())
    ann, _, chat = two_people()
    killed_before_it_says_what_it_stored(ann, chat, monkeypatch)
    tasks.erase(end(ann))
    (orphan,) = kept(folder)
    assert orphan.startswith("media/")


def test_the_next_worker_makes_up_for_a_killed_one(folder: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools need not make the same bytes twice: what the first one stored is nobody's then."""
    ann, _, chat = two_people()
    killed_before_it_says_what_it_stored(ann, chat, monkeypatch)
    real = pipeline.keep

    def others(media: Media, made: Any) -> None:
        made.path.write_bytes(made.path.read_bytes() + b"other bytes")
        real(media, made)

    monkeypatch.setattr(pipeline, "keep", others)
    media = Media.objects.get()
    assert process(media.pk) == State.READY
    assert sorted(kept(folder)) == sorted(each.key for each in made(media.pk).values())
    assert sorted(made(media.pk)) == ["full", "thumb"]
