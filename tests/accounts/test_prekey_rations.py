"""/keys: nobody empties the one-time keys of somebody, and a device hears when few are left."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.accounts.conftest import assert_problem, parallel
from tests.accounts.prekeys import committed, counted, fetched, someone, with_keys
from tests.support.signal_keys import keys
from whatsapp.infra import metrics

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("enqueued")]


# -- few are left


@committed
def test_a_device_is_told_once_that_few_are_left_and_again_after_it_brought_more(
    told: Any, limits: Any
) -> None:
    limits(prekeys_low=2)
    bob, pair, _ = with_keys(classic=3, post_quantum=5)
    heard, caller = told(bob.user_id), someone()
    fetched(caller, bob)
    assert heard() == []
    fetched(caller, bob)
    (notice,) = heard()
    assert notice == {
        "type": "notice",
        "kind": "prekeys_low",
        "data": {"preKeys": 1, "pqPreKeys": 3},
        "only": bob.device_id,
    }
    fetched(caller, bob)
    assert heard() == [], "once"
    assert bob.api.post("/keys", keys(pair, classic=2)).status_code == 204
    heard()
    fetched(caller, bob)
    assert [event["kind"] for event in heard()] == ["prekeys_low"]


@committed
def test_who_never_had_post_quantum_keys_is_not_told_that_there_are_none(told: Any, limits: Any) -> None:
    limits(prekeys_low=2)
    bob, _, _ = with_keys(classic=4)
    heard = told(bob.user_id)
    fetched(someone(), bob)
    assert heard() == []


# -- exhaustion


def counter(kind: str) -> float:
    family = next(family for family in metrics.families() if family.name == "whatsapp_keys")
    return dict(family.values).get((kind,), 0)  # type: ignore[union-attr]


def test_who_asks_again_and_again_gets_no_more_one_time_keys_and_others_do(limits: Any) -> None:
    limits(prekeys_of_one_per_hour=2)
    bob, _, body = with_keys(classic=5, post_quantum=5, last=True)
    greedy, honest = someone(), someone()
    got = [fetched(greedy, bob)[0] for _ in range(4)]
    assert ["preKey" in bundle for bundle in got] == [True, True, False, False]
    assert [bundle["pqPreKey"] == body["lastResort"] for bundle in got] == [False, False, True, True]
    assert counted(bob) == (3, 3)
    assert "preKey" in fetched(honest, bob)[0]


def test_a_device_does_not_empty_the_others_of_its_user(limits: Any) -> None:
    limits(prekeys_of_one_per_hour=2, prekeys_given_per_hour=3)
    phone, _, _ = with_keys(classic=5)
    stolen, caller = someone(phone.phone), someone()
    assert ["preKey" in fetched(stolen, phone)[0] for _ in range(4)] == [True, True, False, False]
    assert [bool(fetched(caller, phone)[0].get("preKey")) for _ in range(2)] == [True, True], (
        "not from theirs"
    )


def test_whose_keys_everybody_asks_for_has_an_alarm_and_is_still_reached(
    limits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    limits(prekeys_given_per_day=2)
    bob, _, body = with_keys(classic=5, last=True)
    before = counter("drained")
    got = [fetched(someone(), bob)[0] for _ in range(5)]
    assert ["preKey" in bundle for bundle in got] == [True, True, False, False, False]
    assert all(bundle["pqPreKey"] == body["lastResort"] for bundle in got)
    assert counter("drained") - before == 1, "once an hour"
    assert [record for record in caplog.records if "drained" in record.getMessage()]
    assert bob.user_id not in caplog.text


def test_a_rush_on_one_user_leaves_keys_for_the_next_hour_without_an_alarm(limits: Any, clock: Any) -> None:
    limits(prekeys_given_per_hour=2)
    bob, _, _ = with_keys(classic=5)
    before = counter("drained")
    assert ["preKey" in fetched(someone(), bob)[0] for _ in range(4)] == [True, True, False, False]
    assert counter("drained") == before
    clock(30 * 60_000)
    caller = someone()
    assert ["preKey" in fetched(caller, bob)[0] for _ in range(2)] == [True, False], "one in half an hour"


def test_who_asks_for_very_many_is_refused(limits: Any) -> None:
    limits(key_fetches_per_hour=3)
    caller, people = someone(), [someone() for _ in range(4)]
    for person in people[:3]:
        fetched(caller, person)
    refused = caller.api.get(f"/keys/{people[3].user_id}")
    assert_problem(refused, "rate_limited", 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert caller.api.get("/keys/count").status_code == 200


@committed
def test_a_rate_is_exact_when_many_ask_at_once(limits: Any) -> None:
    limits(key_fetches_per_hour=5)
    caller, bob = someone(), someone()
    answers = parallel(12, lambda: caller.api.get(f"/keys/{bob.user_id}"))
    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 7}
