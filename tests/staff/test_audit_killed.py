"""Whoever writes the audit log is killed in the midst of it: what was not committed is not there, and the chain holds."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction

from accounts.models import Account
from tests.accounts.conftest import new_number
from tests.support.patience import PATIENCE
from tests.support.waiting import until_it_waits_or_ends
from whatsapp.staff import audit, chain
from whatsapp.staff.models import AuditRecord

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey_server")]


@pytest.fixture
def clerk() -> User:
    return User.objects.create_user(f"clerk-{uuid.uuid4()}", is_staff=True)


@pytest.fixture
def account() -> Account:
    return Account.objects.create(phone=new_number())


class Session(threading.Thread):
    """A session with the database that does something, and stops in the midst of it until it is let go."""

    def __init__(self, deed: Callable[[Session], None]) -> None:
        super().__init__()
        self.deed, self.reached, self.let_go = deed, threading.Event(), threading.Event()
        self.backend, self.error = 0, None
        self.start()

    def run(self) -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    (self.backend,) = cursor.fetchone()
                self.deed(self)
        except OperationalError as error:
            self.error = error
        finally:
            connection.close()

    def stop_here(self) -> None:
        self.reached.set()
        assert self.let_go.wait(PATIENCE)

    def kill(self) -> None:
        """Its session ends, whatever it is at."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [self.backend])
            assert cursor.fetchone() == (True,)
        self.let_go.set()
        self.join()
        assert self.error is not None


def take_places() -> None:
    """What the commit does: from here on the chain waits for this session."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def messages() -> list[str]:
    return list(AuditRecord.objects.order_by("seq").values_list("message", flat=True))


def test_a_session_that_is_killed_between_two_records_leaves_neither(clerk: User, account: Account) -> None:
    def deed(session: Session) -> None:
        audit.record(by=clerk, on=account, message="One.")
        session.stop_here()
        audit.record(by=clerk, on=account, message="Two.")

    audit.record(by=clerk, on=account, message="Before.")
    session = Session(deed)
    assert session.reached.wait(PATIENCE)
    audit.record(by=clerk, on=account, message="Beside.")
    session.kill()
    audit.record(by=clerk, on=account, message="After.")
    assert messages() == ["Before.", "Beside.", "After."]
    assert chain.verify().finding == ""


@pytest.mark.parametrize("second", [False, True], ids=["before the second", "behind both"])
def test_who_waits_for_a_place_gets_that_of_a_session_that_is_killed(
    clerk: User, account: Account, second: bool
) -> None:
    """It has its places and is not committed; another waits for it at its own commit."""

    def deed(session: Session) -> None:
        audit.record(by=clerk, on=account, message="One.")
        take_places()
        if second:
            audit.record(by=clerk, on=account, message="Two.")
        session.stop_here()

    def other(session: Session) -> None:
        audit.record(by=clerk, on=account, message="Waited.")

    audit.record(by=clerk, on=account, message="Before.")
    dies = Session(deed)
    assert dies.reached.wait(PATIENCE)
    waits = Session(other)
    until_it_waits_or_ends(waits)
    assert messages() == ["Before."]
    dies.kill()
    waits.join()
    assert waits.error is None
    audit.record(by=clerk, on=account, message="After.")
    assert messages() == ["Before.", "Waited.", "After."]
    assert chain.verify().finding == ""
    assert chain.anchor() is not None
    assert chain.verify(whole=False).finding == ""


def test_who_waits_is_killed_and_who_has_the_place_keeps_it(clerk: User, account: Account) -> None:
    def deed(session: Session) -> None:
        audit.record(by=clerk, on=account, message="One.")
        take_places()
        session.stop_here()

    def other(session: Session) -> None:
        audit.record(by=clerk, on=account, message="Waited.")
        session.let_go.set()

    lives = Session(deed)
    assert lives.reached.wait(PATIENCE)
    dies = Session(other)
    until_it_waits_or_ends(dies)
    dies.kill()
    lives.let_go.set()
    lives.join()
    assert lives.error is None
    audit.record(by=clerk, on=account, message="After.")
    assert messages() == ["One.", "After."]
    assert chain.verify().finding == ""
