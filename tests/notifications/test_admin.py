"""Push targets in the admin: who sees what of them, the test notification, how providers are, and what is swept."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections

from accounts.models import Device
from devtools.push_servers.apns import Told
from notifications import tasks
from notifications.models import PushState, PushTarget
from notifications.senders.interface import PushApp
from tests.accounts.conftest import (  # noqa: F401
    Person,
    _memory_layer,
    clock,
    enqueued,
    limits,
    sign_in,
)
from tests.notifications.apns_app import App
from tests.staff.conftest import Staff, make_staff, superuser  # noqa: F401
from whatsapp.celery import app
from whatsapp.infra import hot_sync
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.staff import times

#: Pages ask the hot node too.
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_server")]

LIST = "/admin/notifications/pushtarget/"
REASON = "they say that nothing comes"
Make = Callable[..., Staff]


@pytest.fixture
def provider(tmp_path: Path, settings: Any) -> Iterator[App]:
    """APNs, on a loop of its own."""
    made: list[App] = []
    begun, over = threading.Event(), threading.Event()

    async def serve() -> None:
        app = App(tmp_path)
        async with app.apns.server:
            made.append(app)
            begun.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert begun.wait(60)
    settings.PUSH_APPS = {
        "ios": PushApp("ios", "apns", made[0].options()),
        "android": PushApp("android", "fcm", {}),
    }
    yield made[0]
    over.set()
    thread.join()


def set_push(person: Person, app: str = "ios") -> str:
    token = uuid.uuid4().hex * 2
    answer = person.api.put(f"/devices/{person.device_id}/push", {"app": app, "token": token})
    assert answer.status_code == 200, answer.content
    return token


def page_of(person: Person) -> str:
    return f"{LIST}{person.device_id}/change/"


def rows(staff: Staff, query: str) -> set[str]:
    table = staff.page(f"{LIST}?{query}").split("<table", 1)[-1]
    return {str(pk) for pk in PushTarget.objects.values_list("pk", flat=True) if str(pk) in table}


def test_tokens_of_a_user_are_found_and_never_shown(superuser: Staff, provider: App) -> None:  # noqa: F811
    ann, bob = sign_in(), sign_in()
    token, other = set_push(ann), set_push(bob, "android")
    now = now_ms()
    PushTarget.objects.filter(pk=ann.device_id).update(
        success_at=now - 7_000,
        error_at=now - 3_000,
        error="TooManyRequests",
        quiet_from=1320,
        quiet_until=425,
    )
    PushState.objects.create(target_id=ann.device_id, conversation=uuid.uuid4(), seq=1, told_at=now)
    everything = {ann.device_id, bob.device_id}
    for query, found in {
        "": everything,
        f"q={ann.user_id}": {ann.device_id},
        f"q={ann.device_id}": {ann.device_id},
        f"q=%2B{ann.phone[1:]}": {ann.device_id},
        f"q={token}": set(),
        "q=nobody": set(),
        "app=android": {bob.device_id},
        "app=ios": {ann.device_id},
    }.items():
        assert rows(superuser, query) == found, query
    page = superuser.page(page_of(ann))
    for text in (
        f"…{token[-6:]}",
        "TooManyRequests",
        "22:00 to 07:05, UTC",
        "apns",
        f"/accounts/account/{ann.user_id}/",
    ):
        assert text in page, text
    assert re.search(r"Conversations it was told of.*?>\s*1\s*<", page, re.DOTALL)
    for shown in (page, superuser.page(LIST), superuser.page(f"{LIST}?q={ann.user_id}")):
        assert token[:-6] not in shown
        assert other[:-6] not in shown
    assert page_of(ann) in superuser.page(f"/admin/accounts/device/{ann.device_id}/change/")


def test_who_may_what(make_staff: Make, provider: App, enqueued: list[Any]) -> None:  # noqa: F811
    ann = sign_in()
    set_push(ann)
    nobody, viewer = make_staff("accounts.view_account"), make_staff("notifications.view_pushtarget")
    tester = make_staff("notifications.view_pushtarget", "notifications.test_pushtarget")
    test = f"{LIST}{ann.device_id}/test/"
    for path in (LIST, page_of(ann), "/admin/push/"):
        nobody.page(path, 403)
        viewer.page(path)
    assert "Send a test" not in viewer.page(page_of(ann))
    assert viewer.client.post(test, {"reason": REASON}).status_code == 403
    assert "Send a test" in tester.page(page_of(ann))
    assert tester.client.get(f"{LIST}{uuid.uuid4()}/test/").status_code == 404
    assert enqueued == []


def test_staff_send_a_test_and_it_is_written_down(
    superuser: Staff,  # noqa: F811
    provider: App,
    enqueued: list[Any],  # noqa: F811
    django_capture_on_commit_callbacks: Any,
) -> None:
    ann = sign_in()
    token = set_push(ann)
    test = f"{LIST}{ann.device_id}/test/"
    assert "without anything that was written" in superuser.page(test)
    assert superuser.client.post(test, {"reason": "no"}).status_code == 200  # asked again for a better reason
    enqueued.clear()
    with django_capture_on_commit_callbacks(execute=True):
        answer = superuser.client.post(test, {"reason": REASON}, follow=True)
    assert "It is on its way" in answer.content.decode()
    assert enqueued == [tasks.test_push]
    # Whoever sends the others has the credentials, and may reach the provider.
    assert app.amqp.router.route({}, tasks.test_push.name)["queue"].name == "push"
    (entry,) = LogEntry.objects.filter(object_id=ann.device_id)
    assert entry.get_change_message() == f"Test sent: {REASON}"
    assert token not in entry.object_repr
    # What the worker does.
    before = now_ms()
    assert tasks.test_push(ann.device_id) == "accepted"
    (shown,) = provider.apns.shown.values()
    assert shown.payload["aps"]["alert"] == {"loc-key": "NEW_MESSAGE"}
    assert "sealed" not in shown.payload
    kept = PushTarget.objects.get(pk=ann.device_id)
    assert kept.success_at is not None
    assert kept.success_at >= before
    assert kept.error_at is None


def test_what_the_provider_says_of_a_test_counts(provider: App) -> None:
    ann, bob = sign_in(), sign_in()
    set_push(ann)
    set_push(bob)
    provider.apns.answers = [
        Told(429, "TooManyRequests"),
        Told(410, "Unregistered", timestamp=now_ms() + 1_000),
    ]
    assert tasks.test_push(ann.device_id) == "later TooManyRequests"
    kept = PushTarget.objects.get(pk=ann.device_id)
    assert (kept.error, kept.success_at) == ("TooManyRequests", None)
    assert kept.error_at is not None
    assert tasks.test_push(ann.device_id) == "gone Unregistered"
    assert not PushTarget.objects.filter(pk=ann.device_id).exists()
    assert tasks.test_push(ann.device_id) == ""
    assert PushTarget.objects.filter(pk=bob.device_id).exists()


@pytest.mark.django_db(transaction=True)
def test_an_answer_about_the_token_before_changes_nothing(provider: App) -> None:
    ann, token = sign_in(), uuid.uuid4().hex * 2
    set_push(ann)

    def meanwhile(loop: asyncio.AbstractEventLoop, request: Any) -> None:
        try:
            body = {"app": "ios", "token": token}
            assert ann.api.put(f"/devices/{ann.device_id}/push", body).status_code == 200
            loop.call_soon_threadsafe(request.answer, 200)
        finally:
            connections.close_all()

    threads: list[threading.Thread] = []

    def hold(request: Any) -> None:
        threads.append(threading.Thread(target=meanwhile, args=(asyncio.get_running_loop(), request)))
        threads[-1].start()

    provider.apns.hold = hold
    assert tasks.test_push(ann.device_id) == "accepted"
    threads[0].join()
    kept = PushTarget.objects.get(pk=ann.device_id)
    assert (kept.token, kept.success_at) == (token, None)


def test_how_providers_are(superuser: Staff, provider: App, settings: Any) -> None:  # noqa: F811
    ann = sign_in()
    set_push(ann)
    page = superuser.page("/admin/push/")
    assert re.search(r">ios<.*?>apns<.*?unknown.*?>\s*1\s*<", page, re.DOTALL)
    now = now_ms()
    row = (
        f'{{"at": {now}, "state": 2, "success_at": {now - 5_000}, "error_at": {now - 1_000}, "error": "Shutdown", '
        '"accepted": 1234, "failed": 5}'
    )
    with hot_sync.client(settings.HOT_URL, socket_timeout=5, socket_connect_timeout=5) as hot:
        hot.hset("push:health", "ios test", row)
        page = superuser.page("/admin/push/")
        hot.delete("push:health")
    assert re.search(r">\s*down\s*<", page)
    for text in ("1,234", "Shutdown", times.shown(now - 5_000), times.shown(now - 1_000)):
        assert text in page, text
    settings.HOT_URL = "redis://127.0.0.1:1/0"
    assert "how the providers are is not known" in superuser.page("/admin/push/")
    settings.PUSH_APPS = {}
    assert "No app is configured" in superuser.page("/admin/push/")


def test_what_has_no_effect_is_swept(provider: App, clock: Callable[[int], None]) -> None:  # noqa: F811
    ann, bob, carl = sign_in(), sign_in(), sign_in()
    for person in (ann, bob, carl):
        set_push(person)
    old, new = uuid.uuid4(), uuid.uuid4()
    now = now_ms()
    PushState.objects.create(target_id=ann.device_id, conversation=old, seq=1, told_at=now - 5_000)
    assert tasks.prune() == 0
    clock(LIMITS.retention_ms)
    PushState.objects.create(target_id=ann.device_id, conversation=new, seq=1, told_at=now + 5_000)
    assert tasks.prune() == 1
    assert [state.conversation for state in PushState.objects.all()] == [new]
    # As a process of the version before leaves them.
    Device.objects.filter(pk=bob.device_id).update(unlinked_at=now)
    Device.objects.filter(pk=carl.device_id).update(revoked_at=now)
    PushState.objects.create(target_id=bob.device_id, conversation=new, seq=1, told_at=now + 5_000)
    assert tasks.prune() == 2
    assert [str(pk) for pk in PushTarget.objects.values_list("pk", flat=True)] == [ann.device_id]
    assert PushState.objects.count() == 1


def test_apps_that_are_not_configured_any_more_keep_their_devices(
    superuser: Staff,  # noqa: F811
    provider: App,
    settings: Any,
) -> None:
    ann = sign_in()
    set_push(ann)
    settings.PUSH_APPS = {}
    assert tasks.prune() == 0
    assert tasks.test_push(ann.device_id) == "misconfigured no_app"
    assert "not configured" in superuser.page(page_of(ann))
    answer = superuser.client.post(f"{LIST}{ann.device_id}/test/", {"reason": REASON}, follow=True)
    assert "Its app is not configured here." in answer.content.decode()
    assert not LogEntry.objects.filter(object_id=ann.device_id).exists()
