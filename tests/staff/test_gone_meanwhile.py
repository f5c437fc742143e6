"""Staff press a button on the page of somebody whose account is erased at this moment: they are told, and nothing is written."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts.limits import DAY_MS
from accounts.models import Account, Case, Device, Report, ReportedMessage, Sanction
from accounts.own_stores import AccountStore
from accounts.services import cases, evidence, sanctions
from tests.accounts.conftest import Person, sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.staff.moderating import address, press
from tests.staff.test_deciding_races import meanwhile, two  # noqa: F401  (a fixture)
from tests.support.patience import PATIENCE
from tests.support.waiting import until_it_waits_or_ends
from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import AuditRecord
from whatsapp.staff.moderation import decisions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey_server")]

REASON = "looked at all of it"
_WAITING = "SELECT pg_stat_clear_snapshot(), count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
#: Page → what its form says besides the reason.
PAGES = {
    "account/{user}/ban": {"days": "3"},
    "account/{user}/lift": {},
    "account/{user}/set-limit": {"name": "messages_per_minute", "value": "30"},
    "account/{user}/set-class": {"limit_class": "slowed"},
    "sanction/{sanction}/lift": {},
    "sanction/{sanction}/grant": {},
    "sanction/{sanction}/uphold": {},
    "device/{device}/ban": {"days": "3"},
    "device/{device}/unlink": {},
}


def waiting() -> int:
    """How many sessions wait for another one."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        return int(cursor.fetchone()[1])


def erase(ann: Person) -> None:
    """As the last step of an erasure does."""
    with transaction.atomic():
        Account.objects.select_for_update().filter(pk=ann.user_id).first()
        Account.objects.filter(pk=ann.user_id).delete()


@pytest.mark.parametrize("page", PAGES)
def test_what_is_pressed_about_who_is_erased_at_this_moment(superuser: Staff, page: str) -> None:
    ann = sign_in()
    sanction = sanctions.impose(
        account_id=Account.objects.get(pk=ann.user_id).pk, kind="suspension", reason="spam", evidence={},
        until=now_ms() + DAY_MS, by="x",
    )  # fmt: skip
    sanctions.ask_appeal(sanction_id=sanction.pk, text="No.")
    path = (
        "/admin/accounts/" + page.format(user=ann.user_id, sanction=sanction.pk, device=ann.device_id) + "/"
    )
    Account.objects.filter(pk=ann.user_id).update(retired_at=now_ms())
    before = AuditRecord.objects.count()

    def press() -> str:
        superuser.client.raise_request_exception = False
        answer = superuser.client.post(path, {"reason": REASON, "confirmed": "1", **PAGES[page]})
        return f"{answer.status_code}"

    assert meanwhile(lambda: erase(ann), press) == "302"
    assert AuditRecord.objects.count() == before
    assert not Sanction.objects.filter(account=ann.user_id).exists()
    assert not Device.objects.filter(user=ann.user_id).exists()
    assert superuser.client.get("/admin/").status_code == 200


def test_evidence_is_emptied_while_who_was_reported_is_forgotten(
    two: tuple[User, User],  # noqa: F811
) -> None:
    """The one has the case and wants its reports, the other has the reports and wants the case: in one order nobody waits in a
    circle."""
    ann = sign_in()
    case = report(ann, note="It goes on.")
    cases.claim(case, two[0].get_username())
    decisions.decide(case, two[0], "unproven", "no_evidence")
    wrong = list[Exception]()

    def run(deed: Callable[[], object]) -> threading.Thread:
        def done() -> None:
            try:
                deed()
            except Exception as error:
                wrong.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=done)
        thread.start()
        return thread

    with transaction.atomic():
        # Whoever empties the case comes as far as the copies.
        list(ReportedMessage.objects.select_for_update().all())
        emptying = run(lambda: evidence.purge(now_ms() + 91 * DAY_MS))
        until_it_waits_or_ends(emptying)
        forgetting = run(lambda: AccountStore()._forget_in_reports(uuid.UUID(ann.user_id), now_ms()))
        deadline = time.monotonic() + PATIENCE
        while forgetting.is_alive() and waiting() < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    emptying.join()
    forgetting.join()
    assert wrong == []
    case.refresh_from_db()
    assert case.purged_at is not None
    assert str(case.subject) != ann.user_id
    assert not Report.objects.filter(reported=ann.user_id).exists()


def test_a_case_of_who_was_erased_is_not_opened_again(make_staff: Callable[..., Staff]) -> None:
    ann, staff = sign_in(), make_staff(role="moderator")
    case = report(ann)
    press(staff, case, "claim")
    press(staff, case, "decide", action="unproven", reason="no_evidence")
    AccountStore()._forget_in_reports(uuid.UUID(ann.user_id), now_ms())
    press(staff, case, "undo", note=REASON)
    assert case.state == Case.State.CLOSED
    assert "The account was erased" in staff.page(address(case))
