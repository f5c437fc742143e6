"""What staff wrote with a number that the person had before is forgotten with the person, unless somebody else has it now."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts.models import Account, Erasure
from accounts.services import persons
from accounts.stores import Person as Known
from tests.accounts.conftest import Person, new_number, sign_in
from tests.accounts.test_carried import end, moved
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.models import AuditRecord
from whatsapp.staff.stores import StaffStore

#: Records get their place in the chain when they commit.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey_server")]


def write(staff: Staff, person: Person) -> str:
    """What somebody of the staff says about nobody whose id is there."""
    words = f"called {person.phone.lstrip('+')} back"
    audit.record(by=staff.user, on=staff.user, action="tests.note", message=words)
    return words


def erased(person: Person) -> Known:
    """Out of the staff's store. Who it was."""
    with transaction.atomic():
        if not Erasure.objects.filter(user=person.user_id).exists():
            end(person)
    erasure = Erasure.objects.get(user=person.user_id)
    known = persons.unseal(bytes(erasure.identifiers or b""), person.user_id)
    while StaffStore().erase(known, now=now_ms()):
        pass
    return known


def is_there(words: str) -> bool:
    return AuditRecord.objects.filter(message=words).exists()


def test_it_is_forgotten_with_the_person(superuser: Staff) -> None:
    ann = sign_in()
    words = write(superuser, ann)
    moved(ann, new_number(), replace=False)
    known = erased(ann)
    assert ann.phone in known.others
    assert not is_there(words)


@pytest.mark.parametrize("when", ["before", "after"])
def test_not_while_somebody_else_has_the_number(superuser: Staff, when: str) -> None:
    """Whether they had it when the account ended, or got it before it was erased."""
    ann = sign_in()
    words = write(superuser, ann)
    moved(ann, new_number(), replace=False)
    if when == "before":
        sign_in(ann.phone)
        assert ann.phone not in persons.person_of(Account.objects.get(pk=ann.user_id)).others
        known = erased(ann)
    else:
        with transaction.atomic():
            end(ann)
        sign_in(ann.phone)
        known = erased(ann)
        assert ann.phone in known.others
    assert ann.phone not in persons.without_shared(known).others
    assert is_there(words)
