"""/me/privacy and /blocks, and what of a user others see."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Account, Block, Contact, Privacy
from accounts.visibility import EVERYTHING, NOTHING, Visible, reads_shown, visible
from tests.accounts.conftest import Person, assert_problem, at_once, parallel, sign_in
from tests.accounts.test_recycling import silent

pytestmark = pytest.mark.django_db
EVERYONE = dict.fromkeys(("lastSeen", "online", "photo", "about", "readReceipts"), "everyone")


def seen(user: Person, viewer: Person) -> Visible:
    return visible([(user.user_id, viewer.user_id)])[0]


def test_everything_is_shown_until_it_is_hidden() -> None:
    person = sign_in()
    assert person.api.get("/me/privacy").json() == EVERYONE
    after = {**EVERYONE, "lastSeen": "contacts", "about": "nobody"}
    assert person.api.patch("/me/privacy", {"lastSeen": "contacts", "about": "nobody"}).json() == after
    assert person.api.patch("/me/privacy", {}).json() == after
    assert person.api.get("/me/privacy").json() == after
    assert sign_in().api.get("/me/privacy").json() == EVERYONE


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lastSeen": "friends"}, "lastSeen"),
        ({"online": 0}, "online"),
        ({"about": None}, "about"),
        ({"readReceipts": "never"}, "readReceipts"),
    ],
)
def test_other_audiences_are_refused(body: dict[str, Any], field: str) -> None:
    problem = assert_problem(sign_in().api.patch("/me/privacy", body), "bad_request", 400)
    assert problem["details"] == {"field": field}


@pytest.mark.django_db(transaction=True)
def test_two_devices_that_change_different_things_at_once_both_count() -> None:
    person = sign_in()
    fields = list(EVERYONE)
    calls = [
        lambda field=field: person.api.patch("/me/privacy", {field: "nobody"}).status_code for field in fields
    ]
    assert at_once(*calls) == [200] * len(fields)
    assert person.api.get("/me/privacy").json() == {**EVERYONE, **dict.fromkeys(fields, "nobody")}


def test_about_is_shown_to_whom_it_may_be() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    ann.api.patch("/me", {"name": "Ann", "about": "at the sea"})
    ann.api.put(f"/contacts/{bob.user_id}", {})
    for other in (bob, eve):
        other.api.put(f"/contacts/{ann.user_id}", {})

    def shown() -> list[str]:
        return [
            text
            for other in (bob, eve)
            for text in (
                other.api.get(f"/users/{ann.user_id}").json()["about"],
                other.api.get("/contacts").json()["items"][0]["about"],
                other.api.put(f"/contacts/{ann.user_id}", {}).json()["about"],
            )
        ]

    assert shown() == ["at the sea"] * 6
    ann.api.patch("/me/privacy", {"about": "contacts"})
    assert shown() == ["at the sea"] * 3 + [""] * 3
    ann.api.delete(f"/contacts/{bob.user_id}")
    assert shown() == [""] * 6
    ann.api.patch("/me/privacy", {"about": "nobody"})
    assert ann.api.get(f"/users/{ann.user_id}").json()["about"] == "at the sea", "oneself sees it"


def test_a_block_hides_both_from_each_other_and_tells_nobody() -> None:
    ann, bob = sign_in(), sign_in()
    for one, other in ((ann, bob), (bob, ann)):
        one.api.patch("/me", {"about": "here"})
        one.api.put(f"/contacts/{other.user_id}", {})
    assert ann.api.put(f"/blocks/{bob.user_id}").status_code == 204
    assert ann.api.put(f"/blocks/{bob.user_id}").status_code == 204
    for one, other in ((ann, bob), (bob, ann)):
        assert seen(one, other) == NOTHING
        assert one.api.get(f"/users/{other.user_id}").json()["about"] == ""
    assert [item["userId"] for item in ann.api.get("/blocks").json()["items"]] == [bob.user_id]
    assert bob.api.get("/blocks").json() == {"items": []}
    assert ann.api.delete(f"/blocks/{bob.user_id}").status_code == 204
    assert ann.api.delete(f"/blocks/{bob.user_id}").status_code == 204
    assert ann.api.get("/blocks").json() == {"items": []}
    assert seen(ann, bob) == seen(bob, ann) == EVERYTHING


def test_blocks_come_in_pages() -> None:
    person = sign_in()
    others = sorted(sign_in().user_id for _ in range(3))
    for other in others:
        person.api.put(f"/blocks/{other}")
    first = person.api.get("/blocks?limit=2").json()
    second = person.api.get(f"/blocks?limit=2&after={first['next']}").json()
    assert [item["userId"] for item in first["items"] + second["items"]] == others
    assert "next" not in second


def test_who_is_not_there_and_oneself_cannot_be_blocked() -> None:
    person = sign_in()
    assert_problem(person.api.put(f"/blocks/{uuid.uuid4()}"), "not_found", 404)
    assert_problem(person.api.put(f"/blocks/{person.user_id}"), "bad_request", 400)
    assert person.api.delete(f"/blocks/{uuid.uuid4()}").status_code == 204


@pytest.mark.django_db(transaction=True)
def test_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.services.blocks.MAX_BLOCKS", 2)
    person, others = sign_in(), [sign_in().user_id for _ in range(5)]
    turns = iter(others)
    statuses = parallel(5, lambda: person.api.put(f"/blocks/{next(turns)}").status_code)
    assert (statuses.count(204), statuses.count(409)) == (2, 3)


@pytest.mark.django_db(transaction=True)
def test_two_who_block_each_other_at_once_do_not_wait_for_each_other() -> None:
    ann, bob = sign_in(), sign_in()
    assert at_once(
        lambda: ann.api.put(f"/blocks/{bob.user_id}").status_code,
        lambda: bob.api.put(f"/blocks/{ann.user_id}").status_code,
    ) == [204, 204]
    assert Block.objects.filter(owner__in=[ann.user_id, bob.user_id]).count() == 2


def test_ones_other_devices_are_told_and_nobody_else(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    ann, bob = sign_in(), sign_in()
    own, other = told(ann.user_id), told(bob.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        ann.api.put(f"/blocks/{bob.user_id}")
        ann.api.put(f"/blocks/{bob.user_id}")
        ann.api.patch("/me/privacy", {"online": "nobody"})
        ann.api.patch("/me/privacy", {"online": "nobody"})
        ann.api.delete(f"/blocks/{bob.user_id}")
    notice = {"type": "notice", "kind": "flags", "but": ann.device_id}
    assert own() == [
        {**notice, "data": {"userId": bob.user_id, "blocked": True}},
        {**notice, "data": {"privacy": {**EVERYONE, "online": "nobody"}}},
        {**notice, "data": {"userId": bob.user_id, "blocked": False}},
    ]
    assert other() == []


def test_an_account_that_ended_leaves_no_settings_and_no_list() -> None:
    old, other = sign_in(), sign_in()
    old.api.patch("/me/privacy", {"online": "nobody"})
    old.api.put(f"/blocks/{other.user_id}")
    silent(old)
    new = sign_in(old.phone)
    assert new.user_id != old.user_id
    assert not Block.objects.filter(owner=old.user_id).exists()
    assert not Privacy.objects.filter(account=old.user_id).exists()


# -- the rule ---------------------------------------------------------------------------------------------------------------

audience = st.sampled_from([0, 1, 2])
settings_of_one = st.fixed_dictionaries(
    dict.fromkeys(("last_seen", "online", "photo", "about", "read_receipts"), audience)
)


def expected(
    user: dict[str, int], viewer: dict[str, int], known: bool, knows: bool, blocked: bool
) -> Visible:
    """The rule in plain words."""

    def shows(level: int, is_contact: bool) -> bool:
        return level == 0 or (level == 1 and is_contact)

    if blocked:
        return NOTHING
    return Visible(
        typing=True,
        online=shows(user["online"], known),
        last_seen=shows(user["last_seen"], known) and shows(viewer["last_seen"], knows),
        photo=shows(user["photo"], known),
        about=shows(user["about"], known),
    )


@pytest.mark.django_db(transaction=True)
@given(
    ann=settings_of_one,
    bob=st.none() | settings_of_one,
    contacts=st.sets(st.sampled_from(["ann", "bob"])),
    removed=st.booleans(),
    blocks=st.sets(st.sampled_from(["ann", "bob"]), max_size=1),
)
def test_visibility_follows_the_rule(
    ann: dict[str, int], bob: dict[str, int] | None, contacts: set[str], removed: bool, blocks: set[str]
) -> None:
    number = f"+1555{uuid.uuid4().int % 9_000_000 + 1_000_000}"
    people = {
        name: Account.objects.create(phone=f"{number}{i}"[:16]) for i, name in enumerate(("ann", "bob"))
    }
    other = {"ann": people["bob"], "bob": people["ann"]}
    Privacy.objects.create(account=people["ann"], **ann)
    if bob is not None:
        Privacy.objects.create(account=people["bob"], **bob)
    for name in contacts:
        Contact.objects.create(owner=people[name], user=other[name], updated_at=1, removed=removed)
    for name in blocks:
        Block.objects.create(owner=people[name], user=other[name], at=1)
    settings = {"ann": ann, "bob": bob or dict.fromkeys(ann, 0)}
    has = {name: name in contacts and not removed for name in people}
    pairs = list(itertools.permutations(people, 2))
    found = visible([(str(people[user].pk), str(people[viewer].pk)) for user, viewer in pairs])
    assert found == [
        expected(settings[user], settings[viewer], has[user], has[viewer], bool(blocks))
        for user, viewer in pairs
    ]
    # What was read, without blocks: both must show it.
    both = all(
        level == 0 or (level == 1 and has[name])
        for name, level in ((name, settings[name]["read_receipts"]) for name in people)
    )
    assert (
        reads_shown([(str(people[user].pk), str(people[viewer].pk)) for user, viewer in pairs]) == [both] * 2
    )
