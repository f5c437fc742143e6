"""Each limit that an account may have of its own is lowered for one account and met over HTTP; nobody else meets it. Those of the
socket are in ``test_live.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from django.test import Client

from accounts.limits import DAY_MS
from accounts.services import limit_overrides
from media.storage import Storage
from notifications.senders.interface import PushApp
from tests.accounts.conftest import Api, code_for, new_number, register
from tests.accounts.prekeys import with_keys
from tests.accounts.test_address_books import hashed
from tests.accounts.test_linking import Newcomer
from tests.accounts.test_numbers import move
from tests.groups.conftest import Person, accounts, make, sign_in
from tests.groups.pictures import picture, put
from tests.limits.test_live import MET as ON_SOCKETS
from tests.media.conftest import Tus, direct, folder  # noqa: F401 - a fixture
from tests.notifications.test_targets import new_token
from tests.support.signal_keys import IdentityPair, keys
from whatsapp.infra.limit_table import TABLE, How
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

Act = Callable[[], Any]


@pytest.fixture(autouse=True)
def _room(settings: Any, limits: Callable[..., None], folder: Storage) -> None:  # noqa: F811
    settings.PUSH_APPS = {"ios": PushApp("ios", "apns", {})}
    limits(links_per_address_hour=100_000, contact_syncs_per_hour=100)


def _photo(person: Person) -> Any:
    return Client().generic(
        "PUT",
        "/me/photo",
        picture(),
        content_type="image/jpeg",
        headers={"Authorization": f"Bearer {person.token}"},
    )


def contact(ann: Person) -> Act:
    return lambda: ann.api.post("/contacts", {"phoneNumber": sign_in().phone})


def sync(ann: Person) -> Act:
    return lambda: ann.api.post("/contacts/sync", {"hashes": [hashed(sign_in().phone)]})


def key_upload(ann: Person) -> Act:
    pair = IdentityPair()
    return lambda: ann.api.post("/keys", keys(pair))


def key_fetch(ann: Person) -> Act:
    bob, _, _ = with_keys()
    return lambda: ann.api.get(f"/keys/{bob.user_id}")


def identity(ann: Person) -> Act:
    assert ann.api.post("/keys", keys(IdentityPair())).status_code == 204
    return lambda: ann.api.post("/keys", keys(IdentityPair()))


def new_group(ann: Person) -> Act:
    bob = sign_in()
    return lambda: ann.api.post("/groups", {"name": "Sailing", "members": [bob.user_id]})


def rename(ann: Person) -> Act:
    group = make(ann, sign_in())
    return lambda: ann.api.patch(f"/groups/{group}", {"name": new_number()})


def add_member(ann: Person) -> Act:
    group = make(ann, sign_in())
    return lambda: ann.api.put(f"/groups/{group}/members/{accounts(1)[0]}", {})


def add_members(ann: Person) -> Act:
    group = make(ann, sign_in())
    return lambda: ann.api.post(f"/groups/{group}/members", {"members": accounts(1)})


def invite(ann: Person) -> Act:
    group = make(ann, sign_in())
    return lambda: ann.api.post(f"/groups/{group}/invites", {})


def ask_in(ann: Person) -> Act:
    bob = sign_in()

    def act() -> Any:
        group = make(bob, sign_in())
        code = bob.api.post(f"/groups/{group}/invites", {"approval": True}).json()["code"]
        return ann.api.post(f"/invites/{code}/join", {})

    return act


def icon(ann: Person) -> Act:
    group = make(ann, sign_in())
    return lambda: put(ann, group, picture(), "image/jpeg")


def first_contact(ann: Person) -> Act:
    return lambda: ann.api.put(f"/conversations/direct/{sign_in().user_id}")


def archive(ann: Person) -> Act:
    chat = direct(ann, sign_in())
    return lambda: ann.api.patch(f"/conversations/{chat}", {"archived": True})


def timer(ann: Person) -> Act:
    chat = direct(ann, sign_in())
    return lambda: ann.api.patch(f"/conversations/{chat}", {"timer": 3600})


def report(ann: Person) -> Act:
    """Each time somebody else who has written."""

    def act() -> Any:
        bob = sign_in()
        body = {"kind": "user", "userId": bob.user_id, "conversationId": direct(ann, bob), "category": "spam"}
        return ann.api.post("/reports", body)

    return act


def profile(ann: Person) -> Act:
    return lambda: ann.api.patch("/me", {"name": new_number()})


def upload(ann: Person) -> Act:
    chat = direct(ann, sign_in())
    return lambda: Tus(ann).begin(chat, 20_000)


def large_upload(ann: Person) -> Act:
    chat = direct(ann, sign_in())
    return lambda: Tus(ann).begin(chat, 17 * 2**20)


def push_target(ann: Person) -> Act:
    return lambda: ann.api.put(f"/devices/{ann.device_id}/push", {"app": "ios", "token": new_token()})


def pin_conversation(ann: Person) -> Act:
    return lambda: ann.api.patch(f"/conversations/{direct(ann, sign_in())}", {"pinned": True})


def another_device(ann: Person) -> Act:
    def act() -> Any:
        register(ann.phone)
        return Api().post(
            "/auth/verify", {"phoneNumber": ann.phone, "code": code_for(ann.phone), "deviceName": "second"}
        )

    return act


#: What meets a limit, and the value to which it is lowered; it is met when that is used up.
MET: Final[dict[str, tuple[Callable[[Person], Act], int]]] = {
    "number_changes_per_day": (lambda ann: lambda: move(ann, new_number()), 1),
    "link_approvals_per_day": (lambda ann: lambda: Newcomer().approve(ann), 1),
    "contacts_per_hour": (contact, 2),
    "contacts_per_day": (contact, 2),
    "contact_syncs_per_hour": (sync, 0),
    "contact_hashes_per_day": (sync, 0),
    "contacts_found_per_day": (sync, 0),
    "contacts_of_a_block_per_day": (sync, 0),
    "key_uploads_per_hour": (key_upload, 1),
    "key_fetches_per_hour": (key_fetch, 2),
    "key_fetches_per_day": (key_fetch, 2),
    "identity_changes_per_day": (identity, 1),
    "groups_per_hour": (new_group, 2),
    "group_changes_per_hour": (rename, 2),
    "group_adds_per_day": (add_member, 2),
    "group_invites_per_day": (invite, 2),
    "group_asks_per_hour": (ask_in, 1),
    "group_icons_per_hour": (icon, 1),
    "first_contacts_per_hour": (first_contact, 2),
    "first_contacts_per_day": (first_contact, 2),
    "conversation_changes_per_hour": (archive, 2),
    "timer_changes_per_hour": (timer, 1),
    "profile_changes_per_hour": (profile, 2),
    "reports_per_hour": (report, 2),
    "reports_per_day": (report, 2),
    "photos_per_hour": (lambda ann: lambda: _photo(ann), 1),
    "media_bytes_per_hour": (upload, 50_000),
    "media_large_bytes_per_day": (large_upload, 40 * 2**20),
    "push_targets_per_hour": (push_target, 1),
}
#: Of what there may be: the same, refused with ``limit_exceeded``, which no waiting helps.
FULL: Final[dict[str, tuple[Callable[[Person], Act], int]]] = {
    "devices_per_user": (another_device, 1),
    "pinned_conversations": (pin_conversation, 1),
    "media_open_uploads": (upload, 1),
}
#: What one act takes of it, if not one.
TAKES: Final = {"media_bytes_per_hour": 20_000, "media_large_bytes_per_day": 17 * 2**20}
#: What there is already when the act is first made.
THERE: Final = {"devices_per_user": 1}


#: Of these what comes before the act counts as well.
BEFORE: Final = {"group_adds_per_day"}


def test_each_is_met_somewhere() -> None:
    assert {*MET, *FULL, *ON_SOCKETS} == {name for name, about in TABLE.items() if about.overridable}
    assert {*MET} == {name for name, about in TABLE.items() if about.overridable and about.rate} - {
        *ON_SOCKETS
    }


def lower(person: Person, name: str, value: int) -> None:
    limit_overrides.set_override(
        scope="user", subject=person.user_id, name=name, value=value, until=None, reason="a test", by="ann"
    )


def clear(person: Person, name: str) -> None:
    limit_overrides.clear_override(scope="user", subject=person.user_id, name=name)


@pytest.mark.parametrize("name", MET)
def test_a_rate_is_met_and_says_when_to_come_again(name: str) -> None:
    make_act, value = MET[name]
    ann, bob = sign_in(), sign_in()
    act, others = make_act(ann), make_act(bob)
    # What was done before it was lowered may count as well: then there is room for no more.
    lower(ann, name, value)
    answers = [act() for _ in range(value // TAKES.get(name, 1) + 1)]
    allowed, refused = answers[:-1], answers[-1]
    assert name in BEFORE or all(answer.status_code < 300 for answer in allowed)
    assert refused.status_code == 429, refused.content
    body = refused.json()
    assert (body["code"], body["retryable"]) == ("rate_limited", True)
    assert 0 < body["retryAfterMs"] <= 86_400_000
    assert int(refused.headers["Retry-After"]) == -(-body["retryAfterMs"] // 1000)
    assert others().status_code < 300, "nobody else is held to it"
    clear(ann, name)
    again = act()
    if TABLE[name].how is How.STEADY and again.status_code == 429:
        # What was used up comes back at the new rate.
        wait = again.json()["retryAfterMs"]
        assert wait <= DAY_MS * TAKES.get(name, 1) // getattr(LIMITS, name) + 1_000
        assert wait < body["retryAfterMs"]
        return
    assert again.status_code < 300, "nor is this one any more"


@pytest.mark.parametrize("name", FULL)
def test_what_there_may_be_is_met_and_says_how_much(name: str) -> None:
    make_act, value = FULL[name]
    ann, bob = sign_in(), sign_in()
    act, others = make_act(ann), make_act(bob)
    lower(ann, name, value)
    for _ in range(value - THERE.get(name, 0)):
        assert act().status_code < 300
    refused = act()
    assert refused.status_code == 409, refused.content
    assert (refused.json()["code"], refused.json()["details"]) == ("limit_exceeded", {"limit": value})
    assert others().status_code < 300
    clear(ann, name)
    assert act().status_code < 300


def test_several_added_at_once_count_each() -> None:
    ann = sign_in()
    act = add_members(ann)
    lower(ann, "group_adds_per_day", 1)
    assert act().status_code == 429, "the group's first member was one"
    lower(ann, "group_adds_per_day", 0)
    assert act().status_code == 429


@pytest.mark.parametrize("act", [first_contact, new_group, add_member, invite, ask_in])
def test_a_restricted_account_begins_nothing_new(act: Callable[[Person], Act]) -> None:
    ann, bob = sign_in(), sign_in()
    acts, others = act(ann), act(bob)
    account = limit_overrides.Account.objects.get(pk=ann.user_id)
    limit_overrides.set_class(account=account, limit_class="restricted", by="automatic")
    assert acts().status_code == 429
    assert others().status_code < 300
    limit_overrides.set_class(account=account, limit_class="", by="automatic")
    assert acts().status_code < 300
