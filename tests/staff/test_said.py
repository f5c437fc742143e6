"""What pages say in words that people understand: times with their zone, regions by their names, where something waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.utils.html import escape

from accounts.models import Account, Device
from tests.staff.conftest import Staff
from tests.staff.world import World, make_world
from whatsapp.staff import lawful
from whatsapp.staff.admins.base import ReadOnlyAdmin
from whatsapp.staff.models import Approval

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
UNTIL, SAID = 4_102_444_800_000, "2100-01-01 00:00:00 UTC"


@pytest.fixture
def world() -> World:
    return make_world()


def test_a_time_that_stands_alone_has_its_zone(make_staff: Make, world: World) -> None:
    Account.objects.filter(pk=world.ann.user_id).update(banned_until=UNTIL)
    Device.objects.filter(pk=world.ann.device_id).update(banned_until=UNTIL)
    type(world.override).objects.filter(pk=world.override.pk).update(until=UNTIL)
    staff = make_staff(role="auditor")
    for path in (
        f"/admin/accounts/account/{world.ann.user_id}/change/",
        f"/admin/accounts/device/{world.ann.device_id}/change/",
        f"/admin/accounts/limitoverride/{world.override.pk}/change/",
        "/admin/accounts/limitoverride/",
    ):
        assert SAID in staff.page(path), path


def test_an_empty_list_says_what_would_be_in_it(make_staff: Make) -> None:
    staff = make_staff()
    for model, page in admin.site._registry.items():
        if isinstance(page, ReadOnlyAdmin) and not model.objects.exists():
            path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            shown = staff.page(path)
            assert "Nothing here" not in shown, path
            assert page.empty_text != "", path
            assert escape(page.empty_text) in shown, path


def test_who_only_looks_at_the_queue_has_no_list_of_their_own(make_staff: Make, world: World) -> None:
    looks, decides = make_staff(role="auditor"), make_staff(role="moderator")
    for said in ("?list=mine", "Today I have decided"):
        assert said in decides.page("/admin/moderation/")
        assert said not in looks.page("/admin/moderation/")


def test_a_region_has_the_name_that_the_settings_give_it(
    make_staff: Make, world: World, settings: Any
) -> None:
    staff = make_staff(role="moderator")
    pages = (
        f"/admin/accounts/account/{world.ann.user_id}/change/",
        f"/admin/moderation/cases/{world.case.pk}/",
    )
    settings.REGIONS = {7: {"name": "Frankfurt", "jurisdiction": "eu"}}
    settings.JURISDICTIONS = ["eu"]
    settings.REGION_OF_NUMBERS = {"*": 7}
    settings.HOME_REGION = 7
    for number, said in ((7, "Frankfurt"), (9, "9, which no setting names")):
        Account.objects.filter(pk=world.ann.user_id).update(region=number)
        for path in pages:
            assert said in staff.page(path), path
    settings.REGIONS = {}
    assert "which no setting names" not in staff.page(pages[0])


def test_a_request_of_an_authority_says_where_it_waits(make_staff: Make, world: World) -> None:
    staff = make_staff()
    asked = lawful.ask(
        make_staff(signed_in=False).user, "an order of the court", authority="Local Court", reference="7 Js 9/26",
        legal_basis="section 100g", users=[world.ann.user_id], since=1, until=86_400_000,
    )  # fmt: skip
    page = staff.page(f"/admin/accounts/lawfulrequest/{asked.pk}/change/")
    assert f'href="/admin/approvals/{Approval.objects.get(subject=str(asked.pk)).pk}/"' in page
    assert f'href="/admin/accounts/account/{world.ann.user_id}/change/"' in page
