"""Home regions: who may register where, and where conversations live."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from accounts.models import Account
from delivery.ids import conversation_id, region_of
from tests.accounts.conftest import Person, assert_problem, messages_to, new_number, register, sign_in, verify
from whatsapp.infra import residency
from whatsapp.infra.residency import problems

pytestmark = pytest.mark.django_db

REGIONS = {
    "1": {"name": "Frankfurt", "jurisdiction": "eu", "url": "https://eu.chat.example"},
    "2": {"name": "Virginia", "jurisdiction": "us", "url": "https://us.chat.example"},
    "3": {"name": "Paris", "jurisdiction": "eu"},
}
ORDER = ["eu", "us"]


@pytest.fixture
def regions(settings: Any) -> Callable[..., None]:
    """``regions(1, 3, home=1)``: an installation that holds these. Numbers of the tests that end in 1, 2 and 3 would be too rare,
    so whole beginnings are given away: ``numbers``."""

    def use(*here: int, home: int, numbers: dict[str, int]) -> None:
        settings.JURISDICTIONS = ORDER
        settings.REGION_OF_NUMBERS = numbers
        settings.REGIONS_HERE = here
        settings.HOME_REGION = home
        settings.REGIONS = REGIONS

    return use


def of(region: int, regions: Callable[..., None]) -> Person:
    """Somebody whose home is this region, on an installation that holds both."""
    regions(1, 2, 3, home=1, numbers={"*": region})
    return sign_in()


# -- settings --------------------------------------------------------------------------------------------------------------


def test_without_regions_everything_may_be_here() -> None:
    here = residency.current()
    assert not here.on
    assert here.home_of("+4930123456") == here.strictest(()) == 0
    assert all(map(here.holds, [conversation_id(1, "direct", 17), str(uuid.uuid4())]))
    assert here.has(1023)


GOOD: dict[str, Any] = {
    "regions": REGIONS, "here": (1,), "jurisdictions": ORDER, "numbers": {"49": 1, "*": 2}, "home": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, ""),
        ({"here": ()}, ""),
        ({"home": 1024}, "HOME_REGION is 1024; it must be 0 to 1023."),
        (
            {"regions": {}},
            "REGIONS_HERE is set, and REGIONS is not: there are no regions that it could be about.",
        ),
        ({"regions": {**REGIONS, "x": {}}}, "REGIONS has a region 'x'; its number must be 0 to 1023."),
        (
            {"regions": {**REGIONS, "4": {"name": "Goa"}}},
            "REGIONS: region 4 must have name and jurisdiction, and may have url; all are texts.",
        ),
        (
            {"jurisdictions": ["eu"]},
            "REGIONS: region 2 is under 'us', which JURISDICTIONS does not name: nobody knows how strict it is.",
        ),
        ({"home": 9, "here": ()}, "HOME_REGION is 9, which REGIONS does not have."),
        ({"here": (2,)}, "REGIONS_HERE does not have HOME_REGION, 1: nobody could register here."),
        ({"here": (1, 8)}, "REGIONS_HERE has 8, which REGIONS does not have."),
        ({"numbers": {"49": 1}}, "REGION_OF_NUMBERS has no '*': it must say where all other numbers belong."),
        (
            {"numbers": {"+49": 1, "*": 1}},
            "REGION_OF_NUMBERS has '+49'; a key is the first digits of numbers, without +, or '*'.",
        ),
        ({"numbers": {"*": "1"}}, "REGION_OF_NUMBERS: '*' is for '1', which is no region of REGIONS."),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    assert problems(**{**GOOD, **changes}) == ([sentence] if sentence else [])


def test_the_longest_beginning_of_a_number_counts(regions: Callable[..., None]) -> None:
    regions(1, home=1, numbers={"*": 2, "49": 1, "4930": 3})
    here = residency.current()
    assert [here.home_of(number) for number in ("+49301", "+4989", "+1555")] == [3, 1, 2]


def test_the_strictest_jurisdiction_decides(regions: Callable[..., None]) -> None:
    regions(1, 2, home=1, numbers={"*": 1})
    here = residency.current()
    assert [here.strictest(homes) for homes in ({2}, {2, 3}, {3, 1}, {1, 2, 3}, {2, 77})] == [2, 3, 1, 1, 77]
    assert [here.may_hold(*pair) for pair in ((1, 2), (1, 3), (2, 1), (1, 77))] == [True, True, False, False]


def test_settings_that_are_wrong_start_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from whatsapp.settings import env

    monkeypatch.setenv("REGIONS", "[]")
    with pytest.raises(ImproperlyConfigured, match="REGIONS must be a JSON object"):
        env.json_object("REGIONS")
    monkeypatch.setenv("REGIONS_HERE", "1,x")
    with pytest.raises(ImproperlyConfigured, match="REGIONS_HERE must be whole numbers"):
        env.numbers("REGIONS_HERE")


# -- accounts --------------------------------------------------------------------------------------------------------------


def test_a_number_of_another_region_is_told_where_to_go(regions: Callable[..., None]) -> None:
    regions(1, home=1, numbers={"1555": 2, "*": 1})
    phone = new_number()
    problem = assert_problem(register(phone), "wrong_region", 421)
    assert problem["details"] == {
        "region": 2, "name": "Virginia", "jurisdiction": "us", "url": "https://us.chat.example",
    }  # fmt: skip
    assert messages_to(phone) == []
    regions(1, 2, home=1, numbers={"1555": 2, "*": 1})
    assert Account.objects.get(pk=sign_in(phone).user_id).region == 2


def test_nobody_registers_with_a_code_from_before_the_regions(regions: Callable[..., None]) -> None:
    from tests.accounts.conftest import code_for, give

    phone = new_number()
    assert register(phone).status_code == 202
    regions(1, home=1, numbers={"*": 2})
    assert_problem(give(phone, code_for(phone)), "wrong_region", 421)
    assert not Account.objects.filter(phone=phone).exists()


def test_an_account_that_should_not_be_here_gets_no_session(regions: Callable[..., None]) -> None:
    ann = of(2, regions)
    regions(1, home=1, numbers={"*": 1})
    assert_problem(verify(ann.phone), "wrong_region", 421)


def test_the_home_follows_the_number(regions: Callable[..., None]) -> None:
    from tests.accounts.conftest import code_for

    ann = of(1, regions)
    new = new_number()
    regions(1, 2, home=1, numbers={new[1:]: 2, "*": 1})
    assert register(new).status_code == 202
    body = {"phoneNumber": new, "code": code_for(new)}
    regions(1, home=1, numbers={new[1:]: 2, "*": 1})
    assert_problem(ann.api.put("/auth/phone", body), "wrong_region", 421)
    assert Account.objects.get(pk=ann.user_id).phone == ann.phone
    regions(1, 2, home=1, numbers={new[1:]: 2, "*": 1})
    assert ann.api.put("/auth/phone", body).json()["region"] == 2


# -- conversations ---------------------------------------------------------------------------------------------------------


def test_conversations_live_where_the_law_is_strictest(regions: Callable[..., None]) -> None:
    eve, ann, bob = of(1, regions), of(2, regions), of(2, regions)

    def direct(one: Person, other: Person) -> int:
        return region_of(one.api.put(f"/conversations/direct/{other.user_id}").json()["conversationId"])

    def group(one: Person, *others: Person) -> int:
        body = {"name": "g", "members": [other.user_id for other in others]}
        return region_of(one.api.post("/groups", body).json()["groupId"])

    assert (direct(ann, bob), direct(ann, eve), direct(eve, bob)) == (2, 1, 1)
    assert (group(ann, bob), group(ann, bob, eve)) == (2, 1)
    # Where that is not held, there is none.
    regions(2, home=2, numbers={"*": 2})
    cat = sign_in()
    for answer in (
        cat.api.put(f"/conversations/direct/{eve.user_id}"),
        ann.api.put(f"/conversations/direct/{eve.user_id}"),  # this one there is already
        cat.api.post("/groups", {"name": "g", "members": [eve.user_id, bob.user_id]}),
    ):
        assert assert_problem(answer, "wrong_region", 421)["details"]["region"] == 1
    assert cat.api.get("/conversations").json() == {"items": []}


def test_nobody_comes_into_a_group_where_the_law_is_less_strict(regions: Callable[..., None]) -> None:
    ann, bob, eve, dan = of(2, regions), of(2, regions), of(1, regions), of(2, regions)
    lax = ann.api.post("/groups", {"name": "lax", "members": [bob.user_id]}).json()["groupId"]
    assert_problem(ann.api.put(f"/groups/{lax}/members/{eve.user_id}"), "wrong_region", 421)
    several = ann.api.post(f"/groups/{lax}/members", {"members": [eve.user_id, dan.user_id]}).json()
    assert [one["state"] for one in several["items"]] == ["wrong_region", "added"]
    for approval in (False, True):
        invite = ann.api.post(f"/groups/{lax}/invites", {"approval": approval}).json()["code"]
        assert_problem(eve.api.post(f"/invites/{invite}/join"), "wrong_region", 421)
    assert eve.api.get("/conversations").json() == {"items": []}
    strict = eve.api.post("/groups", {"name": "strict", "members": [bob.user_id]}).json()["groupId"]
    assert eve.api.put(f"/groups/{strict}/members/{ann.user_id}").status_code == 200


def test_a_group_that_should_not_be_here_changes_no_more_and_is_left(regions: Callable[..., None]) -> None:
    ann, bob, dan = of(2, regions), of(2, regions), of(1, regions)
    group = ann.api.post("/groups", {"name": "g", "members": [bob.user_id]}).json()["groupId"]
    regions(1, home=1, numbers={"*": 1})
    for answer in (
        ann.api.patch(f"/groups/{group}", {"name": "h"}),
        ann.api.put(f"/groups/{group}/members/{dan.user_id}"),
        ann.api.put(f"/groups/{group}/members/{bob.user_id}", {"role": "admin"}),
        ann.api.post(f"/groups/{group}/invites", {}),
    ):
        assert_problem(answer, "wrong_region", 421)
    assert bob.api.delete(f"/groups/{group}/members/{bob.user_id}").status_code == 204
    assert ann.api.delete(f"/groups/{group}").status_code == 204
