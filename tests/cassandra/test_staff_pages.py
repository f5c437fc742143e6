"""Pages for staff with the log on Cassandra: what they say of nodes and conversations, and when the cluster is away."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from delivery.store import chosen, pending
from delivery.store.sync import store
from delivery.store.values import Flags
from tests.accounts.conftest import Person, _memory_layer, clock, limits, told  # noqa: F401 - fixtures
from tests.cassandra.test_fsck import emptied, on_cassandra  # noqa: F401 - a fixture
from tests.chats.conftest import open_direct
from tests.contract.people import new_id, send
from tests.fsck.conftest import room  # noqa: F401 - a fixture
from tests.groups.conftest import make, sign_in
from tests.staff.conftest import Staff, make_staff, superuser  # noqa: F401 - fixtures
from whatsapp.infra.clock import now_ms

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("on_cassandra", "valkey_server"),
    pytest.mark.timeout(300),
]

SECRET = b"the secret of the two of them"
LIST = "/admin/staff/conversation/"


class World:
    def __init__(self) -> None:
        emptied()
        self.ann, self.bob, self.cat = (sign_in() for _ in range(3))
        self.direct = open_direct(self.ann, self.bob)
        self.group = make(self.ann, self.bob, self.cat)
        for _ in range(3):
            one = send(self.direct, self.ann.user_id, self.ann.device_id, body=SECRET)
            store.append(new_id(), [one], now_ms())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def away(settings: Any) -> Iterator[None]:
    """Nothing answers where the nodes should be."""
    chosen.background.close()
    settings.CASSANDRA_PORT = 1
    yield
    chosen.background.close()


def rows(page: str) -> str:
    return page.split('id="result_list"', 1)[-1] if 'id="result_list"' in page else ""


def card(page: str, title: str) -> str:
    found = re.search(rf'data-card="{title}">([^<]*)<', page)
    assert found is not None, title
    return found[1].strip()


def test_conversations_are_found_by_everything_that_staff_may_know(
    superuser: Staff,  # noqa: F811
    world: World,
) -> None:
    shown = superuser.page(LIST)
    assert "lists no conversations in order" in shown
    assert world.direct in rows(shown)
    digits = world.ann.phone.removeprefix("+")
    for text in (digits, world.ann.user_id, world.ann.user_id.upper(), world.direct):
        assert world.direct in rows(superuser.page(f"{LIST}?q={text}")), text
    assert world.group in rows(superuser.page(f"{LIST}?q={world.cat.user_id}"))
    assert world.direct not in rows(superuser.page(f"{LIST}?q={world.cat.user_id}"))
    for text in ("nobody", "%27%20OR%201=1", str(uuid.uuid4())):
        assert world.direct not in rows(superuser.page(f"{LIST}?q={text}")), text
    assert superuser.client.get(f"{LIST}?p=7").status_code == 302, "behind the last page"


def test_a_conversation_shows_its_numbers_and_nothing_that_was_said(
    superuser: Staff,  # noqa: F811
    world: World,
) -> None:
    page = superuser.page(f"{LIST}{world.direct}/change/")
    assert f"the newest 3 events hold {3 * len(SECRET)} B of contents" in page
    assert "3 sent, 3 kept" in page
    for person in (world.ann, world.bob):
        assert f"/admin/accounts/account/{person.user_id}/change/" in page
    group = superuser.page(f"{LIST}{world.group}/change/")
    assert group.count("/admin/accounts/account/") >= 3
    assert "no events" not in group
    for path in (LIST, f"{LIST}{world.direct}/change/", f"{LIST}{world.direct}/history/"):
        assert SECRET.decode() not in superuser.page(path)
    assert superuser.client.get(f"{LIST}{uuid.uuid4()}/change/").status_code == 302


def test_nobody_else_sees_them(make_staff: Any, world: World) -> None:  # noqa: F811
    staff = make_staff("accounts.view_account")
    for path in (LIST, f"{LIST}?q={world.direct}", f"{LIST}{world.direct}/change/"):
        assert world.direct not in staff.page(path, 403)


def test_the_dashboard_knows_the_nodes_and_what_waits(
    superuser: Staff,  # noqa: F811
    world: World,
) -> None:
    page = superuser.page("/admin/")
    assert re.search(r"<strong[^>]*>Cassandra</strong>", page)
    assert re.search(r"<dd>5\.\d+(\.\d+)?</dd>", page), "its version"
    assert int(card(page, "Linked devices")) >= 3
    assert int(card(page, "Conversations today")) >= 1
    assert card(page, "Changes that wait") == "0"
    change = pending.SetFlags(world.ann.user_id, world.direct, Flags(draft=SECRET), now_ms())
    for parked in (False, True):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(pending.INSERT, (world.ann.user_id, None, 2**50, now_ms(), pending.encode(change)))
            cursor.execute(
                "UPDATE delivery_pending SET parked = %s WHERE id = %s", (parked, cursor.fetchone()[0])
            )
    assert card(superuser.page("/admin/"), "Changes that wait") == "1, 1 parked"


@pytest.mark.usefixtures("away")
def test_pages_say_that_the_cluster_is_away(superuser: Staff) -> None:  # noqa: F811
    page = superuser.page("/admin/")
    server = page.split(">Cassandra</strong>", 1)[1].split("</dl>", 1)[0]
    assert "down" in server
    assert card(page, "Conversations today") == "—"
    assert "Cassandra cannot be reached" in superuser.page(LIST)
    for path in (f"{LIST}{uuid.uuid4()}/change/", f"{LIST}{uuid.uuid4()}/history/"):
        assert "The store of the messages cannot be reached" in superuser.page(path, 503)
