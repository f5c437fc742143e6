"""What nobody needs any more goes, and what somebody needs stays."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from media import tasks
from media.models import Media, Reference, Rendition, State
from media.pipeline import keeping
from media.pipeline.process import process
from media.services import contents
from media.storage import Storage, StorageUnavailable
from media.storage.local import Local
from tests.media.conftest import Person, assert_problem, kept
from tests.media.test_process import photo, sent
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

DAY_MS = 86_400_000


def carried(media: uuid.UUID, at: int, conversation_id: str = "", sender_id: str = "") -> None:
    """A message carries it, somebody's somewhere."""
    Reference.objects.create(
        media_id=media,
        conversation_id=conversation_id or uuid.uuid4(),
        sender_id=sender_id or uuid.uuid4(),
        message_id=uuid.uuid4(),
        created_at=at,
    )


def test_what_nobody_was_sent_goes_after_a_day(ann: Person, chat: str, folder: Storage, clock: Any) -> None:
    unused, used = sent(ann, chat, photo()), sent(ann, chat, photo((300, 200)))
    process(unused)
    process(used)
    carried(used, now_ms())
    assert tasks.drop_unused() == 0
    clock(DAY_MS + 1)
    assert tasks.drop_unused() == 1
    assert_problem(asked_later(ann, unused), "gone", 410)
    assert Media.objects.get(pk=used).state == State.READY
    assert len(kept(folder)) == 2


def test_what_is_carried_is_not_looked_at_again_until_its_last_message_goes(
    ann: Person, chat: str, folder: Storage, clock: Any, django_assert_num_queries: Any
) -> None:
    """Most media are carried by a message, and there are many of them: a sweep does not ask for each of them each hour."""
    media = sent(ann, chat, photo())
    process(media)
    sent_at = now_ms()
    carried(media, sent_at)
    clock(DAY_MS + 1)
    assert tasks.drop_unused() == 0
    assert Media.objects.get(pk=media).look_at == sent_at + LIMITS.retention_ms + DAY_MS + 1
    # References that are too old, holds of decided cases, each with the note of what was purged, and media to look at.
    with django_assert_num_queries(5):
        assert contents.drop_unused(now_ms() + DAY_MS) == 0


def test_more_than_a_batch_goes_at_once(
    ann: Person, chat: str, folder: Storage, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_BATCH", 2)
    for number in range(5):
        process(sent(ann, chat, photo((60, 60 + number))))
    clock(DAY_MS + 1)
    assert tasks.drop_unused() == 5
    assert kept(folder) == []


def test_what_is_gone_is_forgotten_when_no_message_can_name_it(
    ann: Person, chat: str, folder: Storage, clock: Any
) -> None:
    media, young = sent(ann, chat, photo()), sent(ann, chat, photo((300, 200)))
    process(media)
    process(young)
    clock(LIMITS.retention_ms + DAY_MS + 1)
    Media.objects.filter(pk=young).update(created_at=now_ms() + LIMITS.retention_ms)
    assert tasks.drop_unused() == 2
    assert Media.objects.count() == 2
    tasks.drop_unused()
    assert [each.pk for each in Media.objects.all()] == [young]


def asked_later(person: Person, media: uuid.UUID) -> Any:
    """Asked with a token of now: the clock went on."""
    from accounts.models import Device
    from accounts.services.sessions import start_session
    from tests.accounts.conftest import Api

    tokens = start_session(device=Device.objects.get(pk=person.device_id), now=now_ms() + DAY_MS)
    return Api(tokens.token).get(f"/media/{media}")


def test_what_only_expired_messages_carry_goes(ann: Person, chat: str, folder: Storage, clock: Any) -> None:
    media = sent(ann, chat, photo())
    process(media)
    carried(media, now_ms())
    clock(LIMITS.retention_ms)
    assert tasks.drop_unused() == 0
    clock(DAY_MS + 1)
    assert tasks.drop_unused() == 1
    assert kept(folder) == []


@pytest.mark.parametrize("needed", [True, False], ids=["a message carries it", "nobody has it"])
def test_a_file_older_than_a_year_goes_unless_a_message_carries_it(
    ann: Person, chat: str, folder: Storage, needed: bool
) -> None:
    """It was sent on today."""
    assert isinstance(folder, Local)
    media = sent(ann, chat, photo())
    process(media)
    carried(media, now_ms())
    if not needed:
        Rendition.objects.filter(media=media).delete()
    before = kept(folder)
    old = now_ms() / 1000 - 366 * 86_400
    for key in before:
        moved = folder.folder / key.replace(key[6:16], f"{datetime.fromtimestamp(old, UTC):%Y/%m/%d}")
        moved.parent.mkdir(parents=True, exist_ok=True)
        (folder.folder / key).rename(moved)
        os.utime(moved, (old, old))
        Rendition.objects.filter(key=key).update(key=str(moved.relative_to(folder.folder)))
    swept = tasks.sweep_storage()
    if needed:
        assert (swept["media"], swept["renewed"]) == (0, 2)
        url = ann.api.get(f"/media/{media}/content").headers["Location"]
        assert ann.api.get(url).status_code == 200
        assert tasks.sweep_storage()["renewed"] == 0, "they are young again"
    else:
        assert (swept["media"], swept["renewed"]) == (2, 0)
        assert kept(folder) == []


def test_what_two_have_goes_with_the_last_of_them(ann: Person, chat: str, folder: Storage) -> None:
    data = photo()
    one, other = sent(ann, chat, data), sent(ann, chat, data)
    process(one)
    process(other)
    contents.drop(Media.objects.get(pk=one))
    assert len(kept(folder)) == 2
    contents.drop(Media.objects.get(pk=other))
    assert kept(folder) == []


def test_a_storage_that_is_away_is_asked_again(
    ann: Person, chat: str, folder: Storage, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = sent(ann, chat, photo())
    process(media)
    clock(DAY_MS + 1)

    def away(*args: Any) -> None:
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "delete", away)
        assert tasks.drop_unused() == 0
    assert len(kept(folder)) == 2
    tasks.drop_unused()
    assert kept(folder) == []


def test_who_finds_content_that_is_going_stores_it_again(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last owner goes between the moment in which a worker finds it and the one in which that worker says it needs it."""
    data = photo()
    one, other = sent(ann, chat, data), sent(ann, chat, data)
    process(one)
    real = keeping.known

    def late(digest: str, name: str) -> str | None:
        found = real(digest, name)
        assert found is not None
        contents.drop(Media.objects.get(pk=one))
        monkeypatch.setattr(keeping, "known", real)
        return found

    monkeypatch.setattr(keeping, "known", late)
    assert process(other) == State.READY
    keys = [each.key for each in Media.objects.get(pk=other).renditions.all()]
    assert sorted(kept(folder)) == sorted(keys)
    assert len(keys) == 2
