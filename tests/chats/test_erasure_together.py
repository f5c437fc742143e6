# ruff: noqa: F811 - fixtures
"""Accounts that end at about the same time are searched for together, and each ends, or begins anew, for itself."""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import stores, tasks
from accounts.models import Erasure
from accounts.services import erasure, verification
from groups.tasks import leave_retired
from tests.accounts.conftest import _memory_layer, clock, limits  # noqa: F401
from tests.accounts.prekeys import someone
from tests.chats.test_erasure import (  # noqa: F401
    _broker_is_away,
    data,
    hot,
    log,
    pass_a_month,
)
from tests.media.conftest import folder  # noqa: F401
from whatsapp.infra import hot_sync
from whatsapp.infra.needles import Needles

State = Erasure.State
PIN = "271828"


@pytest.fixture
def three(hot: str, data: Any, folder: Any, log: Any, clock: Any) -> list[Erasure]:
    """Accounts of which every store has said that nothing is left."""
    people = [someone() for _ in range(3)]
    for person in people:
        person.api.put("/auth/pin", {"pin": PIN})
        assert person.api.delete("/me", body={"pin": PIN}).status_code == 204
    leave_retired()
    pass_a_month(clock, log)
    rows = [Erasure.objects.get(user=person.user_id) for person in people]
    for row in rows:
        while erasure.step(row.pk):
            pass
    rows = list(Erasure.objects.order_by("pk"))
    assert [row.state for row in rows] == [State.VERIFYING] * 3
    return rows


def states() -> list[str]:
    return list(Erasure.objects.order_by("pk").values_list("state", flat=True))


def half_a_day_later(clock: Any) -> None:
    clock(erasure.GATHER_MS)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_one_search_serves_all_and_finds_the_one(
    three: list[Erasure], hot: str, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    for store in stores.all_stores():
        real = type(store).leftovers

        def counted(self: Any, people: Any, real: Any = real) -> Any:
            asked[self.name] += 1
            return real(self, people)

        monkeypatch.setattr(type(store), "leftovers", counted)
    with hot_sync.client(hot) as client:
        client.set("somewhere", f"x{uuid.UUID(str(three[1].user)).hex}")
    assert verification.verify() == 0, "others may come for half a day"
    half_a_day_later(clock)
    enqueued: list[Any] = []
    monkeypatch.setattr("delivery.tasks.enqueue", lambda task, *args: enqueued.append(task))
    tasks.erase_due()
    assert enqueued == [tasks.verify_erased]
    assert tasks.verify_erased() == 3
    assert set(asked.values()) == {1}
    assert set(asked) == {store.name for store in stores.all_stores()}
    assert states() == [State.DONE, State.ERASING, State.DONE]
    assert Erasure.objects.get(pk=three[1].pk).error.startswith("Left: ")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_so_many_do_not_wait(three: list[Erasure], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MOST", 2)
    assert verification.verify() == 2
    assert sorted(states()) == [State.DONE, State.DONE, State.VERIFYING]
    assert verification.verify() == 0, "the third waits for others"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_a_server_that_is_away_is_asked_again(
    three: list[Erasure], clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = next(one for one in stores.all_stores() if one.name == "hot")

    def away(self: Any, people: Any) -> Any:
        raise redis.ConnectionError

    half_a_day_later(clock)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "leftovers", away)
        assert verification.verify() == 3
    assert states() == [State.VERIFYING] * 3
    assert verification.verify() == 0
    clock(erasure.RETRY_MS)
    assert verification.verify() == 3
    assert states() == [State.DONE] * 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("log", ["postgres"], indirect=True)
def test_what_no_store_knows_by_name_goes_too(three: list[Erasure], hot: str, clock: Any) -> None:
    """A key of a user that nobody names: a walk over all keys finds it, for all users at once."""
    with hot_sync.client(hot) as client:
        client.set(f"{{{three[0].user}}}:something:new", "1")
        client.set(f"{{{uuid.uuid4()}}}:something:new", "1")
    half_a_day_later(clock)
    verification.verify()
    assert states() == [State.DONE] * 3
    with hot_sync.client(hot) as client:
        assert len(client.keys("*something:new")) == 1


# No id may be another, shifted by some bits: in base64 the two look the same.
_USERS = [uuid.uuid5(uuid.NAMESPACE_OID, str(at)) for at in range(60)]
_PHONES = [f"+4915{at:02}{at * 7919:07}" for at in range(60)]
_NEEDLES = Needles([*enumerate(map(str, _USERS)), *enumerate(_PHONES)])
_SHAPES = st.sampled_from(["hex", "text", "bytes", "base64", "upper"])


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 59), _SHAPES, st.binary(max_size=11)), max_size=6), st.integers(1, 40)
)
def test_exactly_those_are_found_who_are_there(planted: list[Any], size: int) -> None:
    """However many are searched for, wherever it begins, and across pieces."""
    whole = b""
    for who, shape, noise in planted:
        user = _USERS[who]
        whole += (
            noise
            + {
                "hex": user.hex.encode(),
                "text": _PHONES[who].encode(),
                "bytes": user.bytes,
                "base64": base64.b64encode(noise + user.bytes),
                "upper": str(user).upper().encode(),
            }[shape]
            + b" "
        )
    expected = {who for who, _, _ in planted}
    assert _NEEDLES.every(whole) == expected
    assert _NEEDLES.every_in(whole[at : at + size] for at in range(0, len(whole), size)) == expected


def test_a_row_as_postgresql_shows_it_has_bytes_in_hexadecimal() -> None:
    user = uuid.uuid4()
    needles = Needles([("it", str(user))])
    row = b"(1,\\\\x00" + user.bytes.hex().encode() + b")"
    assert needles.shown().every(row) == {"it"}
    text = b"\\\\x" + str(user).upper().encode().hex().encode()
    assert (needles.every(text), needles.shown().every(text)) == (set(), {"it"})
