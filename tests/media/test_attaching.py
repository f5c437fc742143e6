"""A message that takes a file at the moment in which it is declared gone: connections of their own, in exact order."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
import pytest
from django.db import connection, connections

from delivery.ports import Attached
from delivery.roster import Roster
from media.attaching import attach, detach
from media.models import Kind, Media, Reference, State
from media.services import contents
from tests.media.conftest import sign_in
from tests.support.patience import PATIENCE
from tests.support.waiting import until_it_waits
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.postgres import open_pool

pytestmark = pytest.mark.django_db(transaction=True)

Off = Callable[[str], None]


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Off:
    return lambda name: monkeypatch.setattr(faults, "off", name.__eq__)


@pytest.fixture
def unused(folder: Any) -> Media:
    """Somebody's file that no message carries, old enough to go."""
    owner = sign_in().user_id
    at = now_ms() - LIMITS.media_unused_ms - 1
    return Media.objects.create(
        id=uuid.uuid4(), owner_id=owner, kind=Kind.IMAGE, state=State.READY, size=1, created_at=at
    )


def url() -> str:
    known = connection.settings_dict
    return "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**known)


class Between:
    """A pool whose user is interrupted before it gets its second connection."""

    def __init__(self, pool: Any, what: Callable[[], object] | None) -> None:
        self._pool, self._what, self._asked = pool, what, 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        self._asked += 1
        if self._asked == 2 and self._what is not None:
            await asyncio.to_thread(self._what)
        async with self._pool.connection() as link:
            yield link


def sent(media: Media, meanwhile: Callable[[], object] | None = None) -> str:
    """Its owner sends it: "" or the code of the refusal. ``meanwhile``: when it was looked at, and is not noted yet."""
    message = Attached(str(uuid.uuid4()), str(media.owner_id), str(uuid.uuid4()), str(media.pk))

    async def run() -> list[str]:
        async with open_pool(url()) as pool:
            nobody = cast(Roster, None)  # an owner is not looked for in conversations
            return await attach(cast(Any, Between(pool, meanwhile)), nobody, [message])

    (code,) = asyncio.run(run())
    return code


def drop() -> int:
    try:
        return contents.drop_unused(now_ms())
    finally:
        connections.close_all()


def state(media: Media) -> str:
    return Media.objects.get(pk=media.pk).state


def test_what_goes_while_it_is_attached_is_refused(unused: Media) -> None:
    assert sent(unused, drop) == "gone"
    assert state(unused) == State.GONE


def test_twin_without_another_look(unused: Media, off: Off) -> None:
    off("look_again")
    assert sent(unused, drop) == ""
    assert state(unused) == State.GONE, "a message was stored whose file is gone"


def dropped_behind_a_worker(media: Media) -> str:
    """A worker has the row when it is to be declared gone; a message takes the file meanwhile. What its sender is told."""
    dropping = threading.Thread(target=drop)
    with psycopg.connect(url()) as worker:
        worker.execute("SELECT 1 FROM media_media WHERE id = %s FOR NO KEY UPDATE", (media.pk,))
        dropping.start()
        until_it_waits(dropping)
        code = sent(media)
    dropping.join(PATIENCE)
    assert not dropping.is_alive()
    return code


def test_what_is_attached_before_it_is_declared_gone_stays(unused: Media) -> None:
    assert dropped_behind_a_worker(unused) == ""
    assert state(unused) == State.READY
    assert Reference.objects.filter(media=unused).count() == 1


def test_twin_without_the_lock(unused: Media, off: Off) -> None:
    off("unused_lock")
    assert dropped_behind_a_worker(unused) == ""
    assert state(unused) == State.GONE, "a message was stored whose file is gone"


def test_what_a_deleted_message_carried_is_looked_at(unused: Media) -> None:
    """It would be looked at when the message has expired."""
    assert sent(unused) == ""
    assert drop() == 0
    assert Media.objects.get(pk=unused.pk).look_at > now_ms() + LIMITS.retention_ms
    (reference,) = Reference.objects.all()

    async def deleted() -> None:
        async with open_pool(url()) as pool:
            await detach(pool, [(str(reference.conversation_id), str(reference.message_id))])

    asyncio.run(deleted())
    assert drop() == 1
    assert state(unused) == State.GONE
