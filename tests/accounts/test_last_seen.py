"""``lastSeenAt`` as gateways write it: seldom, in one statement, waiting for nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from psycopg_pool import AsyncConnectionPool

from accounts import last_seen
from accounts.last_seen import LastSeen
from accounts.models import Device
from tests.accounts.conftest import parallel, sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3_600_000


def with_pool(work: Callable[[LastSeen], Awaitable[Any]], **more: Any) -> Any:
    names = {"host", "port", "user", "password", "dbname"}
    given = {name: value for name, value in connection.get_connection_params().items() if name in names}

    async def run() -> Any:
        async with AsyncConnectionPool(
            kwargs={**given, **more}, min_size=0, max_size=2, open=False, timeout=1
        ) as pool:
            return await work(LastSeen(pool, lambda: ()))

    return async_to_sync(run)()


def write(*devices: str) -> None:
    async def work(seen: LastSeen) -> None:
        for device in devices:
            seen.add(device)
        await seen.write()

    with_pool(work)


def seen_at(device: str) -> int:
    return int(Device.objects.values_list("last_seen_at", flat=True).get(pk=device))


def set_seen(device: str, at: int) -> None:
    Device.objects.filter(pk=device).update(last_seen_at=at)


def test_a_device_moves_once_an_hour_at_most() -> None:
    old, fresh = sign_in().device_id, sign_in().device_id
    before = now_ms()
    set_seen(old, before - HOUR - 1_000)
    set_seen(fresh, before - HOUR + 60_000)
    write(old, fresh, old)
    assert seen_at(old) >= before
    assert seen_at(fresh) == before - HOUR + 60_000
    moved = seen_at(old)
    write(old)
    assert seen_at(old) == moved


def test_a_row_that_somebody_holds_is_left_for_the_next_time() -> None:
    held, free = sign_in().device_id, sign_in().device_id
    set_seen(held, 1)
    set_seen(free, 1)
    with transaction.atomic():
        Device.objects.select_for_update().get(pk=held)
        parallel(1, lambda: write(held, free))
        assert seen_at(held) == 1
    assert seen_at(free) > 1
    write(held)
    assert seen_at(held) > 1


def test_what_could_not_be_written_waits_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_seen, "_WAITING", 2)
    devices = [sign_in().device_id for _ in range(3)]
    for device in devices:
        set_seen(device, 1)

    async def away(seen: LastSeen) -> set[str]:
        for device in devices:
            seen.add(device)
        with pytest.raises((psycopg.Error, last_seen.PoolTimeout)):
            await seen.write()
        return set(seen._waiting)

    assert with_pool(away, port=1) == set(devices[:2])


def test_many_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_seen, "_AT_ONCE", 2)
    devices = [sign_in().device_id for _ in range(5)]
    for device in devices:
        set_seen(device, 1)
    write(*devices)
    assert all(seen_at(device) > 1 for device in devices)
