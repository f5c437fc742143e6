"""Content that its last owner takes away while somebody stores the same: who comes second waits, and nobody is left without."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from media.models import Media, State
from media.pipeline.process import process
from media.services import contents
from media.storage import Storage
from tests.media.conftest import Person, kept
from tests.media.test_process import photo, sent
from tests.support.patience import PATIENCE
from tests.support.waiting import Beside, until_it_waits_or_ends

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("twin", [False, True], ids=["locked", "twin"])
def test_who_stores_what_is_being_deleted_waits_and_stores_it_anew(
    ann: Person, chat: str, folder: Storage, monkeypatch: pytest.MonkeyPatch, twin: bool
) -> None:
    data = photo()
    one, other = sent(ann, chat, data), sent(ann, chat, data)
    process(one)
    real = type(folder).delete
    deletes, may_go = threading.Event(), threading.Event()

    def slowly(storage: Any, keys: Any) -> Any:
        if threading.current_thread() is going:
            deletes.set()
            assert may_go.wait(PATIENCE)
        return real(storage, keys)

    if twin:
        monkeypatch.setattr(
            contents,
            "note",
            lambda media, name, key: media.renditions.create(name=name, key=key, media_type="", size=0),
        )
    going = Beside(lambda: contents.drop(Media.objects.get(pk=one)))
    coming = Beside(lambda: process(other))
    with monkeypatch.context() as patch:
        patch.setattr(type(folder), "delete", slowly)
        going.start()
        assert deletes.wait(PATIENCE), "nobody else has it, so it goes"
        coming.start()
        until_it_waits_or_ends(coming)
        may_go.set()
        for thread in (going, coming):
            thread.join(PATIENCE)
    assert coming.answers == [State.READY]
    keys = {each.key for each in Media.objects.get(pk=other).renditions.all()}
    assert (keys <= set(kept(folder))) is not twin
    assert not [each for each in Media.objects.get(pk=other).renditions.all() if each.name.startswith("~")]
