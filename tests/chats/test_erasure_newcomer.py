# ruff: noqa: F811 - fixtures
"""Somebody ends an account while everything is under way, and somebody else has the number, the telephone and the token: of the
one nothing is left, of the other nothing is lost."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from typing import Any

import pytest

from accounts import stores
from accounts.models import (
    Account,
    CarriedSanction,
    Device,
    Erasure,
    Export,
    LimitOverride,
    Report,
    Sanction,
)
from accounts.services import erasure, exports, limit_overrides, persons, sanctions
from accounts.stores import Person as Whose
from groups.tasks import leave_retired
from notifications.models import PushTarget
from tests.accounts.conftest import Person, _memory_layer, clock, limits, parallel, sign_in  # noqa: F401
from tests.accounts.test_conversations import append, open_direct
from tests.chats.erased import TOKEN, Life, end, residue
from tests.chats.test_erasure import (  # noqa: F401  (fixtures)
    _broker_is_away,
    data,
    hot,
    life,
    pass_a_month,
    search,
)
from tests.chats.test_holds import hold, let_go
from tests.media.conftest import folder  # noqa: F401
from tests.media.test_process import photo, sent
from whatsapp.infra import hot_sync
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)

TELEPHONE = "one telephone, sold"
State = Erasure.State


@pytest.fixture
def log(hot: str) -> Any:
    return lambda: None


def _newcomer(life: Life) -> Person:
    """With the number, the telephone and the token of who has just ended the account; who does what people do."""
    person = sign_in(life.ann.phone, deviceId=TELEPHONE)
    assert person.user_id != life.ann.user_id
    api = person.api
    assert api.patch("/me", {"name": "Nell New"}).status_code == 200
    PushTarget.objects.create(
        device_id=person.device_id, app="ios", token=TOKEN, token_hash=hashlib.sha256(TOKEN.encode()).digest(), set_at=1
    )  # fmt: skip
    assert life.bob.api.put(f"/contacts/{person.user_id}", {"nickname": "Nell"}).status_code == 200
    direct = open_direct(life.bob, person)
    append(person, direct, "I am new here")
    sent(person, direct, photo((200, 100)))
    made = life.bob.api.post("/groups", {"name": "Newcomers", "members": [person.user_id]})
    assert made.status_code == 201, made.content
    for one, other in ((person, life.bob), (life.bob, person)):
        body = {"kind": "user", "category": "spam", "conversationId": direct, "userId": other.user_id}
        assert one.api.post("/reports", body).status_code == 201
    limit_overrides.set_override(
        scope="user", subject=person.user_id, name="groups_per_hour", value=7, until=None, reason="trusted", by="ann"
    )  # fmt: skip
    return person


def _all_of(person: Person) -> Counter[tuple[str, str, str]]:
    """In how many rows of which table what of this person is, and in which files; in the stores that last."""
    whose = [Whose(person.user_id, person.phone, (person.device_id,), (), (TOKEN,))]
    found = {
        (one.store, one.where, one.what)
        for store in stores.all_stores()
        if store.name != "hot"
        for one in store.leftovers(whose)
    }
    # By the number alone somebody else is found too, who had it.
    return Counter((store, where.partition(" (")[0], what) for store, where, what in found if what != "phone")


def test_the_number_is_anothers_by_now_and_all_goes_on(life: Life, clock: Any, log: Any, hot: str) -> None:
    ann, bob = life.ann, life.bob
    Device.objects.filter(pk=ann.device_id).update(
        installation=_installation_of(sign_in(deviceId=TELEPHONE).device_id)
    )
    assert ann.api.post("/me/export").status_code == 202  # asked for, and made by nobody yet
    (waiting,) = Export.objects.filter(account=ann.user_id)
    appealed = Sanction.objects.get(account=ann.user_id)
    key = end(ann)
    # What comes too late: an appeal, an export, a sanction, a report, a hold that ends.
    assert sanctions.decide_appeal(sanction=appealed, by="staff", grant=False, reason="no").appeal == "upheld"
    assert not exports.build(waiting.pk)
    body = {"kind": "user", "category": "spam", "conversationId": life.direct, "userId": ann.user_id}
    assert bob.api.post("/reports", body).status_code in (201, 404)
    row = hold(ann.user_id)
    newcomer = _newcomer(life)
    carried = Sanction.objects.get(account=newcomer.user_id)
    assert (carried.kind, carried.evidence) == ("limit", {"carried": True})
    assert not CarriedSanction.objects.filter(sanction=appealed.pk).exists()
    leave_retired()
    pass_a_month(clock, log)
    assert erasure.step(key) == State.HELD
    let_go(row)
    before = _all_of(newcomer)
    assert {store for store, *_ in before} >= {"accounts", "groups", "media", "notifications"}
    with hot_sync.client(hot) as client:
        for _ in range(60):
            client.flushdb()
            parallel(2, lambda: erasure.step(key))
            erasing = Erasure.objects.get(pk=key)
            if erasing.state == State.VERIFYING:
                break
            Erasure.objects.filter(pk=key).update(next_at=min(erasing.next_at, now_ms()))
        client.flushdb()
    assert search(key) == State.DONE
    gone = before - _all_of(newcomer)
    assert not gone, gone
    assert LimitOverride.objects.filter(subject=newcomer.user_id).count() == 1
    assert Report.objects.filter(reporter=newcomer.user_id).count() == 1
    found, said = residue(ann, phone="", other=[])
    assert not found, said
    assert not Account.objects.filter(pk=ann.user_id).exists()
    assert Account.objects.get(pk=newcomer.user_id).phone == ann.phone
    assert Erasure.objects.get(pk=key).user_hash == persons.user_hash(ann.user_id)


def _installation_of(device_id: str) -> bytes:
    found = Device.objects.get(pk=uuid.UUID(device_id)).installation
    assert found is not None
    return bytes(found)
