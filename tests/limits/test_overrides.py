"""Other limits for one account or class: who has which, from when and until when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import own_limits
from accounts.errors import Refused
from accounts.limits import limit_for
from accounts.models import Account, LimitOverride
from accounts.services import limit_overrides
from accounts.tasks import prune
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limit_classes import CLASSES
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

NAME = "groups_per_hour"


def give(account: Account, value: int, name: str = NAME, until: int | None = None) -> LimitOverride:
    return limit_overrides.set_override(
        scope="user", subject=str(account.pk), name=name, value=value, until=until, reason="a test", by="ann"
    )


def give_class(limit_class: str, value: int, name: str = NAME, until: int | None = None) -> LimitOverride:
    return limit_overrides.set_override(
        scope="class", subject=limit_class, name=name, value=value, until=until, reason="a test", by="ann"
    )


def fresh(account: Account) -> Account:
    return Account.objects.get(pk=account.pk)


def seen_by_a_gateway(account: Account) -> own_limits.Given:
    """What a session of this account would be given."""
    with connection.cursor() as cursor:
        cursor.execute(own_limits._ASK, [[str(account.pk)]])
        ((_, text),) = cursor.fetchall()
    return own_limits.given(text, limit_overrides.now_ms())  # type: ignore[attr-defined]


@pytest.fixture
def account() -> Account:
    return Account.objects.create()


@pytest.fixture
def at(clock: Any) -> Any:
    return clock


def test_everybody_has_the_tables_and_asks_nothing(account: Account) -> None:
    account = fresh(account)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert limit_for(account, NAME) == LIMITS.groups_per_hour
    assert not asked.captured_queries
    assert seen_by_a_gateway(account) is own_limits.EVERYBODYS


def test_an_account_has_its_own_and_asks_nothing_either(account: Account) -> None:
    give(account, 3)
    account = fresh(account)
    with CaptureQueriesContext(connection) as asked:
        assert limit_for(account, NAME) == 3
        assert limit_for(account, "photos_per_hour") == LIMITS.photos_per_hour
    assert not asked.captured_queries
    given = seen_by_a_gateway(account)
    assert asdict(given.limits) == {**asdict(LIMITS), NAME: 3}
    assert (given.limit_class, given.until) == ("", None)


def test_a_class_is_looked_up_once_in_a_while(account: Account) -> None:
    give_class("whales", 7)
    limit_overrides.set_class(account=account, limit_class="whales", by="ann")
    account = fresh(account)
    with CaptureQueriesContext(connection) as asked:
        assert [limit_for(account, NAME) for _ in range(5)] == [7] * 5
    assert len(asked.captured_queries) == 1
    assert seen_by_a_gateway(account).limits.groups_per_hour == 7


def test_the_accounts_own_goes_before_its_class_and_rows_before_what_is_built_in(account: Account) -> None:
    def both() -> tuple[int, int]:
        own_limits.forget_classes()
        known = fresh(account)
        return limit_for(known, NAME), seen_by_a_gateway(known).limits.groups_per_hour

    limit_overrides.set_class(account=account, limit_class="restricted", by="automatic")
    assert both() == (CLASSES["restricted"].values[NAME],) * 2 == (0, 0)
    give_class("restricted", 2)
    assert both() == (2, 2)
    give(account, 5)
    assert both() == (5, 5)
    limit_overrides.clear_override(scope="user", subject=str(account.pk), name=NAME)
    assert both() == (2, 2)
    limit_overrides.clear_override(scope="class", subject="restricted", name=NAME)
    assert both() == (0, 0)
    assert limit_overrides.set_class(account=account, limit_class="", by="ann") == "restricted"
    assert both() == (LIMITS.groups_per_hour,) * 2


def test_what_has_ended_counts_no_more_and_is_pruned(account: Account, clock: Callable[[int], None]) -> None:
    now = now_ms()
    give(account, 3, until=now + 60_000)
    give(account, 4, name="photos_per_hour")
    give_class("whales", 8, until=now + 60_000)
    limit_overrides.set_class(account=account, limit_class="whales", by="ann")
    assert limit_for(fresh(account), NAME) == 3
    assert seen_by_a_gateway(account).until == now + 60_000
    clock(60_001)
    assert limit_for(fresh(account), NAME) == LIMITS.groups_per_hour
    given = seen_by_a_gateway(account)
    assert (given.limits.groups_per_hour, given.until) == (LIMITS.groups_per_hour, None)
    assert LimitOverride.objects.count() == 3
    prune()
    assert [row.name for row in LimitOverride.objects.all()] == ["photos_per_hour"]
    assert fresh(account).own_limits == {"photos_per_hour": [4, None]}


def test_given_again_it_takes_the_place_of_the_first(account: Account) -> None:
    give(account, 3)
    give(account, 9)
    assert LimitOverride.objects.get(subject=str(account.pk)).value == 9
    assert fresh(account).own_limits == {NAME: [9, None]}


def test_clearing_the_last_one_leaves_nothing(account: Account) -> None:
    give(account, 3)
    clear = lambda: limit_overrides.clear_override(scope="user", subject=str(account.pk), name=NAME)  # noqa: E731
    assert clear() is True
    assert clear() is False
    assert fresh(account).own_limits is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "otp_sends_per_hour"}, "name"),
        ({"name": "no_such"}, "name"),
        ({"name": "pk"}, "name"),
        ({"value": -1}, "value"),
        ({"value": 10_001}, "value"),
        ({"until": 1}, "until"),
        ({"reason": "  "}, "reason"),
        ({"subject": "nobody"}, "subject"),
        ({"scope": "class", "subject": "Has Spaces"}, "subject"),
        ({"scope": "class", "subject": ""}, "subject"),
        ({"scope": "planet"}, "scope"),
    ],
)
def test_what_makes_no_sense_is_refused(account: Account, fields: dict[str, Any], field: str) -> None:
    values: dict[str, Any] = {
        "scope": "user", "subject": str(account.pk), "name": NAME, "value": 1, "until": None, "reason": "a test",
        "by": "ann", **fields,
    }  # fmt: skip
    with pytest.raises(Refused) as refused:
        limit_overrides.set_override(**values)
    assert (refused.value.code, refused.value.details) == ("bad_request", {"field": field})
    assert not LimitOverride.objects.exists()


def test_of_nobody_nothing_is_set() -> None:
    nobody = "00000000-0000-7000-8000-000000000000"
    with pytest.raises(Refused, match="no such account"):
        limit_overrides.set_override(
            scope="user", subject=nobody, name=NAME, value=1, until=None, reason="a test", by="ann"
        )


def test_there_is_no_such_class(account: Account) -> None:
    with pytest.raises(Refused, match="no class"):
        limit_overrides.set_class(account=account, limit_class="whales", by="ann")


@pytest.mark.django_db(transaction=True)
def test_sockets_are_told(
    account: Account, told: Callable[[str], Callable[[], list[dict[str, Any]]]]
) -> None:
    read = told(str(account.pk))
    give(account, 3)
    limit_overrides.set_class(account=account, limit_class="slowed", by="automatic")
    limit_overrides.set_class(account=account, limit_class="slowed", by="automatic")
    limit_overrides.clear_override(scope="user", subject=str(account.pk), name=NAME)
    assert read() == [{"type": "limits.changed"}] * 3
