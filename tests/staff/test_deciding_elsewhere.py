"""What moderators decide while the log, on Cassandra, does not answer: it is decided, and the log follows."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable

import pytest

from accounts.models import Case
from delivery.models import Pending
from delivery.store.interface import Unavailable
from delivery.store.sync import store
from groups.models import Group
from tests.accounts.conftest import assert_problem
from tests.chats.test_reports_elsewhere import Way, way  # noqa: F401  (a fixture)
from tests.groups.conftest import make, sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.staff.moderating import address, press
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey_server")]


@pytest.mark.parametrize("how", ["away", "frozen"])
def test_a_group_is_closed_while_the_node_does_not_answer(
    make_staff: Callable[..., Staff],
    way: Way,  # noqa: F811
    how: str,
) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    case, staff = report(uuid.UUID(group), "hate", kind="group", said=()), make_staff(role="moderator")
    press(staff, case, "claim")
    (way.away if how == "away" else way.freeze)()
    assert press(staff, case, "decide", action="close_group", reason="hate").status_code == 302
    # Decided, and written down for the log; the page of the case does not need that one.
    assert (case.state, case.outcome) == (Case.State.CLOSED, Case.Outcome.GROUP_CLOSED)
    assert Group.objects.get(pk=group).dissolved_at is not None
    assert Pending.objects.filter(subject=group).count() == 1
    assert staff.client.get(address(case)).status_code == 200
    assert_problem(bob.api.get(f"/conversations/{group}/events"), "unavailable", 503)
    way.back()
    deadline = time.monotonic() + PATIENCE
    while Pending.objects.filter(subject=group).exists():  # as the sweep does
        assert time.monotonic() < deadline
        with contextlib.suppress(Unavailable):
            store.settle(group)
    assert store.conversations([group])[group].current == frozenset()
