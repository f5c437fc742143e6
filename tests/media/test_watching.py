"""What workers show of media: what waits and for how long, room on disks, whether the scanner answers."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import pytest

from devtools.paths import REPO
from media import watching
from media.models import Media, State
from media.services import work
from media.storage import Storage
from tests.media.conftest import Person
from tests.support import early
from tests.support.clamd import Clamd
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms


def row(person: Person, state: State, begun_s: int, stored_s: int | None = None, **fields: Any) -> None:
    now = now_ms()
    Media.objects.create(
        id=uuid.uuid4(), owner_id=person.user_id, state=state, created_at=now - begun_s * 1000,
        stored_at=None if stored_s is None else now - stored_s * 1000, **fields,
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_what_waits_is_counted_and_the_oldest_has_its_age(ann: Person) -> None:
    assert watching._waiting() == dict.fromkeys(("uploading", "stored", "processing", "later"), (0, 0.0))
    row(ann, State.UPLOADING, 5_000)
    row(ann, State.UPLOADING, 70)
    row(ann, State.STORED, 9_000, 600)
    row(ann, State.PROCESSING, 20_000, 10_000, worker=uuid.uuid4())
    row(ann, State.PROCESSING, 3_000, 2_000)
    row(ann, State.PROCESSING, 3_000, 1_000)
    row(ann, State.READY, 90_000, 80_000)
    row(ann, State.REFUSED, 90_000, 80_000)
    found = watching._waiting()
    assert {state: number for state, (number, _) in found.items()} == {
        "uploading": 2, "stored": 1, "processing": 1, "later": 2,
    }  # fmt: skip
    assert 5_000 <= found["uploading"][1] < 5_060
    assert 600 <= found["stored"][1] < 660
    assert 10_000 <= found["processing"][1] < 10_060
    assert 2_000 <= found["later"][1] < 2_060


@pytest.mark.django_db(transaction=True)
def test_the_commands_of_the_runbook(ann: Person, capsys: pytest.CaptureFixture[str]) -> None:
    """Each runs as it is written, and the last brings back what was put off."""
    written = re.findall(
        r'manage\.py shell -c "(from media\..*?)"', (REPO / "docs" / "operations.md").read_text()
    )
    assert len(written) == 3
    later = now_ms() + 3_600_000
    row(ann, State.PROCESSING, 3_000, 2_000, leased_until=later, look_at=later)
    media = Media.objects.get(owner_id=ann.user_id)
    assert work.due(again_ms=1) == []
    for code in written:
        exec(code.replace("ID", str(media.pk)).replace("\\\\", "\\"), {})
    said = capsys.readouterr().out
    assert f"('processing', 1, {media.created_at})" in said
    assert "'attempts': 0" in said
    assert said.endswith("\n1\n")
    assert work.due(again_ms=1) == [media.pk]


def test_disks_have_room(folder: Storage, tmp_path: Any, settings: Any) -> None:
    settings.MEDIA_FOLDER = str(tmp_path)
    found = watching._free()
    assert found.keys() == {"work", "storage"}
    assert all(0 < ratio < 1 for ratio in found.values())


@pytest.mark.needs_packages
def test_a_scanner_that_dies_is_down_and_none_is_not_shown(settings: Any) -> None:
    settings.CLAMD_URL = ""
    assert watching._scanner() == {}
    daemon = Clamd(early.folder("clamd"), {})
    try:
        daemon.start()
        settings.CLAMD_URL = daemon.url
        assert watching._scanner() == {"clamd": 1}
    finally:
        daemon.__exit__()
    assert watching._scanner() == {"clamd": 0}


def test_who_scrapes_often_does_not_ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(range(10))
    asked = metrics.seldom(lambda: next(answers), every_s=60)
    assert [asked(), asked()] == [0, 0]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert [asked(), asked()] == [1, 1]


def test_an_error_is_not_kept() -> None:
    answers = iter((0, 2))
    asked = metrics.seldom(lambda: 6 // next(answers), every_s=60)
    with pytest.raises(ZeroDivisionError):
        asked()
    assert asked() == 3
