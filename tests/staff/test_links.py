"""No page offers a link that is refused to who sees it: every page as each role, and whatever it links to."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any, Final
from urllib.parse import urljoin

import pytest

from accounts.models import Account, LegalHold, Sanction
from tests.accounts.conftest import sign_in
from tests.staff.conftest import Staff
from tests.staff.test_roles import NAMES, opens
from tests.staff.world import World, make_world
from whatsapp.staff import approvals, banning, links, releases
from whatsapp.staff.models import Approval

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
_HREF: Final = re.compile(r'<(?:a|form)\b[^>]*?\s(?:href|action)="([^"]+)"')
#: Orders of a list, and what a POST alone opens.
_LEFT_OUT: Final = re.compile(
    r"[?&](o|_popup|_to_field)=|/logout/|/moderation/(next|rested|cases/[^/]+/\w+)/$|^/admin/jsi18n"
)


@pytest.fixture
def world(make_staff: Make) -> World:
    """With everything that links to something: sanctions of a case and of two people, what waits and what was decided."""
    made = make_world()
    one, other = (make_staff(signed_in=False).user for _ in range(2))
    carl = sign_in()
    account = Account.objects.get(pk=carl.user_id)
    banning.ban(account, one, 300, "reported by many people")
    approvals.decide(Approval.objects.get(subject=carl.user_id), other, True, "true, it was")
    for sanction in Sanction.objects.filter(account=carl.user_id):
        banning.lift(sanction, one, "it was somebody else")
    Sanction.objects.filter(pk=made.sanction.pk).update(
        evidence={**made.sanction.evidence, "case": str(made.case.pk)}
    )
    releases.ask(made.hold, one, "the trial is over")
    return made


def linked(page: str, at: str) -> set[str]:
    """Addresses of the admin that a page links to, forms that are sent there too, as far as a GET opens them."""
    found = {urljoin(at, unescape(href)).partition("#")[0] for href in _HREF.findall(page)}
    return {href for href in found if href.startswith("/admin/") and not _LEFT_OUT.search(href)}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "role", [pytest.param("", marks=pytest.mark.long), *NAMES], ids=["superuser", *NAMES.values()]
)
def test_whatever_a_page_offers_opens(make_staff: Make, world: World, role: str) -> None:
    staff = make_staff(role=NAMES[role]) if role else make_staff()
    pages = world.pages(staff.user.pk)
    opened: dict[str, str] = {}
    for path in pages:
        if not role or role in opens(path):
            opened[path] = staff.page(path)
    offered = {href: at for at, page in opened.items() for href in linked(page, at)}
    refused = {}
    for href, at in sorted(offered.items()):
        if href not in opened and (status := staff.client.get(href).status_code) != 200:
            refused[href] = (status, at)
    assert refused == {}


def test_twin_without_asking_who_reads_pages_offer_what_is_refused(
    make_staff: Make, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "may_open", lambda page, pk=None: bool(page))
    staff = make_staff(role="staff")
    at = f"/admin/accounts/sanction/{world.sanction.pk}/change/"
    assert any(staff.client.get(href).status_code == 403 for href in linked(staff.page(at), at))


def test_what_waits_is_called_by_its_name(make_staff: Make, world: World) -> None:
    """The list says whose hold it is and by which reference, and leads there who may go there."""
    hold, user = LegalHold.objects.get(pk=world.hold.pk), world.ann.user_id
    may_all = make_staff("accounts.release_hold", "accounts.view_legalhold", "accounts.view_account")
    decides = make_staff("accounts.release_hold")
    for path in ("/admin/approvals/", f"/admin/approvals/{Approval.objects.get(subject=str(hold.pk)).pk}/"):
        for staff, links_there in ((may_all, True), (decides, False)):
            page = staff.page(path)
            assert (hold.matter in page, user in page) == (True, True), path
            for href in (
                f"/admin/accounts/legalhold/{hold.pk}/change/",
                f"/admin/accounts/account/{user}/change/",
            ):
                assert (f'href="{href}"' in page) == links_there, (path, href)


def test_who_asks_and_never_decides_sees_what_became_of_it(make_staff: Make, world: World) -> None:
    asker = make_staff("accounts.place_hold", "accounts.view_legalhold")
    hold = LegalHold.objects.create(
        user=world.bob.user_id, matter="5 Js 1/26", placed_at=1, placed_by="colleague", review_at=2
    )
    form = {"reason": "the trial is over"}
    page = asker.client.post(f"/admin/accounts/legalhold/{hold.pk}/release/", form, follow=True)
    assert "Second person" in page.content.decode()  # where it waits, and a link there
    asked = Approval.objects.get(subject=str(hold.pk))
    assert hold.matter in asker.page("/admin/approvals/")
    assert world.hold.matter not in asker.page("/admin/approvals/")  # of somebody else's
    asker.client.post(f"/admin/approvals/{asked.pk}/", {"withdraw": "", **form})
    asked.refresh_from_db()
    assert asked.state == "withdrawn"


def test_the_list_of_what_waits_asks_once_a_kind(
    make_staff: Make, world: World, django_assert_num_queries: Any
) -> None:
    holds = [
        LegalHold.objects.create(
            user=world.ann.user_id, matter=f"4 Js {n}/26", placed_at=1, placed_by="colleague", review_at=2
        )
        for n in range(5)
    ]  # fmt: skip
    by = make_staff(signed_in=False).user
    asked = [releases.ask(hold, by, "the trial is over") for hold in holds]
    with django_assert_num_queries(2):  # holds, and who is not erased
        assert {rows[0].text for rows in approvals.about(asked).values()} == {hold.matter for hold in holds}
