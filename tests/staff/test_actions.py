"""What staff do has a reason, is written down, and reaches the gateways; jobs and their runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from django.contrib.admin.models import LogEntry
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from accounts.models import Account, Device, Pin
from delivery.models import Pending
from tests.accounts.conftest import assert_problem, sign_in
from tests.staff.conftest import Staff
from tests.staff.world import World, make_world
from tests.support.signal_keys import IdentityPair, keys
from whatsapp.infra.clock import now_ms
from whatsapp.staff import job_figures, job_state, recorder, tasks
from whatsapp.staff.models import Outcome, TaskRun

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Told = Callable[[str], Callable[[], list[dict[str, Any]]]]
REASON = "reported by three people"


@pytest.fixture
def world() -> World:
    return make_world()


def last_entry(staff: Staff) -> tuple[str, str]:
    entry = LogEntry.objects.filter(user=staff.user).latest("pk")
    return str(entry.object_id), entry.get_change_message()


def test_ban_and_lift(
    superuser: Staff, world: World, told: Told, django_capture_on_commit_callbacks: Any
) -> None:
    ann = world.ann
    read = told(ann.user_id)
    path = f"/admin/accounts/account/{ann.user_id}"
    for fields in (
        {"days": 3},
        {"days": 3, "reason": "x"},
        {"days": 0, "reason": REASON},
        {"days": 9999, "reason": REASON},
    ):
        assert superuser.client.post(f"{path}/ban/", fields).status_code == 200  # the form again
    assert ann.api.get("/me").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        assert superuser.client.post(f"{path}/ban/", {"days": 3, "reason": REASON}).url == f"{path}/change/"
    (event,) = read()
    until = Account.objects.get(pk=ann.user_id).banned_until
    assert (event["type"], event["until"]) == ("user.banned", until)
    assert abs(until - now_ms() - 3 * 86_400_000) < 60_000
    assert_problem(ann.api.get("/me"), "banned", 403)
    of, message = last_entry(superuser)
    assert of == ann.user_id
    assert message.endswith(REASON)
    assert ann.phone not in message
    assert "The user is banned." in superuser.page(f"{path}/change/")
    superuser.client.post(f"{path}/lift/", {"reason": REASON})
    assert ann.api.get("/me").status_code == 200
    superuser.client.post(f"{path}/lift/", {"reason": REASON})
    assert "This user is not banned." in superuser.page(f"{path}/change/")


def test_a_pin_is_seen_as_set_and_removed_by_who_may(
    superuser: Staff,
    make_staff: Callable[..., Staff],
    world: World,
    told: Told,
    django_capture_on_commit_callbacks: Any,
) -> None:
    ann, moderator = world.ann, make_staff("accounts.view_account", "accounts.change_account")
    path = f"/admin/accounts/account/{ann.user_id}"
    assert ann.api.put("/auth/pin", {"pin": "271828"}).status_code == 204
    stored = Pin.objects.get(account_id=ann.user_id).hash
    for staff in (superuser, moderator):
        page = staff.page(f"{path}/change/")
        assert "set 20" in page
        assert "argon2" not in page
        assert stored not in page
    # Who may ban may not do this: it lets in who has no more than the number.
    assert moderator.client.post(f"{path}/remove-pin/", {"reason": REASON}).status_code == 403
    assert superuser.client.post(f"{path}/remove-pin/", {}).status_code == 200  # the form again
    assert Pin.objects.get(account_id=ann.user_id).hash == stored
    read = told(ann.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        superuser.client.post(f"{path}/remove-pin/", {"reason": REASON})
    assert [event["data"]["event"] for event in read()] == ["removed"]
    assert ann.api.get("/me").json()["pinSet"] is False
    assert last_entry(superuser) == (ann.user_id, f"PIN removed: {REASON}")
    superuser.client.post(f"{path}/remove-pin/", {"reason": REASON})
    assert "This user has no PIN." in superuser.page(f"{path}/change/")


def test_many_are_banned_after_one_question(superuser: Staff, world: World) -> None:
    people = [world.ann, world.bob]
    chosen = {"action": "ban_chosen", "_selected_action": [person.user_id for person in people]}
    question = superuser.client.post("/admin/accounts/account/", chosen)
    assert question.status_code == 200
    assert all(person.user_id in question.content.decode() for person in people)
    assert Account.objects.filter(banned_until__isnull=False).count() == 0
    done = superuser.client.post(
        "/admin/accounts/account/", {**chosen, "confirmed": "1", "days": "2", "reason": REASON}
    )
    assert done.status_code == 302
    assert Account.objects.filter(banned_until__isnull=False).count() == 2
    assert LogEntry.objects.filter(change_message__endswith=REASON).count() == 2


def test_unlink_end_and_ban_devices(
    superuser: Staff, told: Told, django_capture_on_commit_callbacks: Any
) -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in(deviceId="an-installation")
    for person, act, fields, event, status in (
        (ann, "unlink", {}, "device.removed", 401),
        (bob, "end", {}, "session.revoked", 401),
        (eve, "ban", {"days": 5}, "device.banned", 403),
    ):
        read = told(person.user_id)
        path = f"/admin/accounts/device/{person.device_id}"
        with django_capture_on_commit_callbacks(execute=True):
            assert (
                superuser.client.post(f"{path}/{act}/", {**fields, "reason": REASON}).url == f"{path}/change/"
            )
        assert event in [one["type"] for one in read()]
        assert person.api.get("/me").status_code == status, act
        assert last_entry(superuser)[0] == person.device_id
    assert Device.objects.get(pk=ann.device_id).unlinked_at is not None
    assert Device.objects.get(pk=bob.device_id).unlinked_at is None
    superuser.client.post(f"/admin/accounts/device/{eve.device_id}/lift/", {"reason": REASON})
    assert eve.api.get("/me").status_code == 200
    superuser.client.post(f"/admin/accounts/device/{ann.device_id}/unlink/", {"reason": REASON})
    page = superuser.page(f"/admin/accounts/device/{ann.device_id}/change/")
    assert "unlinked already" in page
    assert "unlinked by staff" in page
    assert "a code by SMS" in page
    Device.objects.filter(pk=eve.device_id).update(linked_by=bob.device_id)
    page = superuser.page(f"/admin/accounts/device/{eve.device_id}/change/")
    assert f"/admin/accounts/device/{bob.device_id}/change/" in page


def test_a_parked_change_is_tried_again_with_a_reason(
    superuser: Staff, make_staff: Callable[..., Staff], world: World
) -> None:
    path = "/admin/staff/pendingchange/"
    listed = superuser.page(path)
    assert "SetFlags" in listed
    assert "CassErrorServerInvalidQuery" in listed
    waits = Pending.objects.create(
        subject=uuid.uuid4(), due_at=2**50, tries=3, operation=world.parked.operation
    )
    chosen = {"action": "try_again", "_selected_action": [str(world.parked.pk), str(waits.pk)]}
    looks = make_staff("staff.view_pendingchange")
    assert "SetFlags" in looks.page(path)
    looks.client.post(path, {**chosen, "confirmed": "1", "reason": REASON})
    assert Pending.objects.get(pk=world.parked.pk).parked
    assert superuser.client.post(path, chosen).status_code == 200  # asks why
    superuser.client.post(path, {**chosen, "confirmed": "1", "reason": REASON})
    again = Pending.objects.get(pk=world.parked.pk)
    assert (again.parked, again.failures, again.tries) == (False, 0, 0)
    assert again.due_at <= now_ms()
    assert last_entry(superuser) == (str(world.parked.pk), f"Tried again: {REASON}")
    assert Pending.objects.get(pk=waits.pk).due_at == 2**50, "what waits has its time"


def test_an_empty_list_says_what_that_means(superuser: Staff) -> None:
    path = "/admin/staff/pendingchange/"
    page = superuser.page(path)
    assert "Nothing waits" in page
    assert "Every change that services have made has reached the log" in page
    assert "Create a new item" not in page
    filtered = superuser.page(f"{path}?parked__exact=1")
    assert "Nothing matches" in filtered
    assert "Show all" in filtered
    assert "Nothing waits" not in filtered


def test_a_device_shows_how_many_keys_it_has_and_none_of_them(superuser: Staff) -> None:
    ann, body = sign_in(), keys(IdentityPair(), classic=2, post_quantum=1)
    assert ann.api.post("/keys", body).status_code == 204
    page = superuser.page(f"/admin/accounts/device/{ann.device_id}/change/")
    assert "2 and 1 post-quantum" in page
    for key in (body["identityKey"], body["preKeys"][0]["publicKey"], body["pqPreKeys"][0]["publicKey"]):
        assert key not in page


def test_an_action_needs_a_post_and_a_csrf_token(superuser: Staff, world: World) -> None:
    from django.test import Client

    path = f"/admin/accounts/account/{world.ann.user_id}/ban/"
    superuser.client.get(path, {"days": 3, "reason": REASON})
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = superuser.client.cookies
    assert strict.post(path, {"days": 3, "reason": REASON}).status_code == 403
    assert Account.objects.get(pk=world.ann.user_id).banned_until is None


# -- jobs -------------------------------------------------------------------------------------------------------------------


def job(name: str, every_s: int = 300, **fields: Any) -> PeriodicTask:
    every, _ = IntervalSchedule.objects.get_or_create(every=every_s, period="seconds")
    return PeriodicTask.objects.create(name=name, task=f"tests.{name}", interval=every, **fields)


def ran(task: PeriodicTask, ago_ms: int, outcome: str = Outcome.SUCCEEDED, **fields: Any) -> TaskRun:
    return TaskRun.objects.create(
        task=task.task, task_id=str(uuid.uuid4()), started_at=now_ms() - ago_ms, outcome=outcome, **fields
    )


def test_the_state_of_a_job_follows_its_last_run() -> None:
    PeriodicTask.objects.all().delete()
    ran(job("good"), 60_000, duration_ms=5)
    late = job("late")
    ran(late, 300_000 + job_state.GRACE_MS + 60_000)
    bad = job("bad")
    ran(bad, 90_000)
    ran(bad, 10_000, Outcome.FAILED, error="ValueError")
    ran(job("busy"), 5_000, Outcome.RUNNING)
    ran(job("lost"), job_state.LOST_MS + 1, Outcome.RUNNING)
    job("new")
    job("never", total_run_count=3)
    ran(job("off", enabled=False), 10**9)
    states = {each.task.name: each.state for each in job_state.all_jobs()}
    assert states == {
        "good": "ok", "late": "overdue", "bad": "failed", "busy": "running", "lost": "lost", "new": "waiting",
        "never": "overdue", "off": "off",
    }  # fmt: skip
    trouble = [each.task.name for each in job_state.all_jobs() if each.trouble]
    assert trouble == ["bad", "late", "lost", "never"]
    assert {found: number for found, number in job_figures.in_trouble().items() if number} == {
        ("tests.bad", "failed"): 1, ("tests.late", "overdue"): 1, ("tests.lost", "lost"): 1, ("tests.never", "overdue"): 1,
    }  # fmt: skip
    due = {each.task.name: each.due_at for each in job_state.all_jobs()}
    assert abs((due["good"] or 0) - now_ms() - 240_000) < 30_000


@pytest.mark.django_db(transaction=True)  # the scheduler ends the connection that it finds
def test_a_job_that_joins_the_schedule_appears_by_itself(
    superuser: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beat alone is told of it; the page and the metric have it from there."""
    PeriodicTask.objects.all().delete()
    new = {"task": "tests.joins", "schedule": 60.0, "options": {"expires": 60}}
    monkeypatch.setitem(current_app.conf.beat_schedule, "joins-of-tests", new)
    assert "joins-of-tests" not in superuser.page("/admin/jobs/")
    DatabaseScheduler(app=current_app)  # what a beat does when it starts
    page = superuser.page("/admin/jobs/")
    assert [name for name in current_app.conf.beat_schedule if name not in page] == []
    joined = PeriodicTask.objects.get(name="joins-of-tests")
    assert f"/admin/jobs/{joined.pk}/run/" in page
    assert ">every 1 min<" in page
    assert ("tests.joins", "overdue") not in job_figures.in_trouble()  # not a minute old
    before = timezone.now() - timedelta(milliseconds=60_000 + job_state.GRACE_MS + 1_000)
    PeriodicTask.objects.filter(pk=joined.pk).update(last_run_at=before)
    assert job_figures.in_trouble()["tests.joins", "overdue"] == 1  # nobody has to list it for that
    # Its runs are written down without being asked, too.
    recorder._prerun(str(uuid.uuid4()), SimpleNamespace(name="tests.joins", request=SimpleNamespace()))
    assert ("tests.joins", "overdue") not in job_figures.in_trouble()


def test_trouble_is_on_the_dashboard(superuser: Staff) -> None:
    PeriodicTask.objects.all().delete()
    ran(job("good"), 60_000)
    assert "Every job ran when it was due" in superuser.page("/admin/")
    ran(job("broken"), 60_000, Outcome.FAILED, error="OperationalError")
    page = superuser.page("/admin/")
    assert "broken" in page
    assert "OperationalError" in page


def test_run_now_enqueues_with_a_reason(superuser: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **options: sent.append((name, options)))
    task = job("nightly", args="[1]", kwargs='{"a": 2}', queue="maintenance")
    path = f"/admin/jobs/{task.pk}/run/"
    superuser.client.post(path, {"reason": "no"})
    superuser.client.get(path)
    assert sent == []
    assert superuser.client.post(path, {"reason": REASON}).url == "/admin/jobs/"
    ((name, options),) = sent
    assert (name, options["args"], options["kwargs"], options["queue"]) == (
        "tests.nightly",
        [1],
        {"a": 2},
        "maintenance",
    )
    assert last_entry(superuser) == (str(task.pk), f"Run now: {REASON}")


def test_run_now_without_a_broker_says_so(superuser: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no broker")

    monkeypatch.setattr(current_app, "send_task", refuse)
    task = job("nightly")
    superuser.client.post(f"/admin/jobs/{task.pk}/run/", {"reason": REASON})
    assert "broker cannot be reached" in superuser.page("/admin/jobs/")


@pytest.mark.parametrize(("args", "kwargs"), [("{}", "{}"), ("[]", "[1]"), ("[1", "{}"), ("7", "{}")])
def test_run_now_with_arguments_that_are_none_says_so(superuser: Staff, args: str, kwargs: str) -> None:
    """What beat's own form takes: any JSON; and what somebody wrote into the table."""
    task = job("nightly", args=args, kwargs=kwargs)
    assert superuser.client.post(f"/admin/jobs/{task.pk}/run/", {"reason": REASON}).url == "/admin/jobs/"
    assert "arguments of this job" in superuser.page("/admin/jobs/")


# -- what workers write down ----------------------------------------------------------------------------------------------


class Run:
    """A task's life as the worker's signals tell it."""

    def __init__(self, name: str) -> None:
        self.id = str(uuid.uuid4())
        request = SimpleNamespace(hostname="worker@here", periodic_task_name="the job")
        self.task = SimpleNamespace(name=name, request=request)
        recorder._prerun(task_id=self.id, task=self.task)

    def end(self, state: str = "SUCCESS", retval: Any = None) -> None:
        recorder._postrun(task_id=self.id, task=self.task, state=state, retval=retval)

    @property
    def row(self) -> TaskRun | None:
        return TaskRun.objects.filter(task_id=self.id).first()


def test_a_run_is_written_down_when_it_starts_and_when_it_ends() -> None:
    run = Run("tests.one")
    assert run.row is not None
    assert run.row.outcome == Outcome.RUNNING
    run.end()
    row = run.row
    assert row is not None
    assert (row.outcome, row.error, row.job, row.worker) == (Outcome.SUCCEEDED, "", "the job", "worker@here")
    assert row.duration_ms is not None


def test_of_a_failure_the_class_is_kept_and_not_its_text() -> None:
    run = Run("tests.two")
    run.end("FAILURE", ValueError("+15551234567 is odd"))
    row = run.row
    assert row is not None
    assert (row.outcome, row.error) == (Outcome.FAILED, "ValueError")
    assert "1555" not in str(vars(row))


def test_frequent_tasks_are_sampled_but_their_failures_are_not() -> None:
    first, second, third = Run("tests.three"), Run("tests.three"), Run("tests.three")
    for run in (first, second):
        run.end()
    third.end("FAILURE", KeyError("x"))
    assert (first.row is not None, second.row is None) == (True, True)
    assert third.row is not None
    assert third.row.error == "KeyError"
    assert not recorder._running


def test_runs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "KEEP", 5)
    tasks_of = [job("many"), job("few")]
    for _ in range(12):
        newest = ran(tasks_of[0], 1_000)
    ran(tasks_of[1], 1_000)
    tasks.prune()
    kept = TaskRun.objects.filter(task="tests.many")
    assert kept.count() == 5
    assert kept.filter(pk=newest.pk).exists()
    assert TaskRun.objects.filter(task="tests.few").count() == 1


def test_a_database_that_is_away_fails_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OSError("gone")

    monkeypatch.setattr(TaskRun.objects, "create", away)
    monkeypatch.setattr(recorder.connection, "close", lambda: None)
    run = Run("tests.four")
    run.end("FAILURE", ValueError())
    assert TaskRun.objects.filter(task="tests.four").count() == 0
