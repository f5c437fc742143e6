"""Deeds of two people in a real browser, pressed by what the pages say: a ban for good and its appeal, a deletion under a hold
and the end of the hold, metadata for an authority."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.people import Sms, request
from tests.staff.test_browser import Desk, looks_right
from tests.staff.test_live import PASSWORD, manage
from tests.support.browser import chromium

pytestmark = [pytest.mark.needs_packages, pytest.mark.timeout(400)]

REASON = "looked at all of it"
_MAKE = """
import json
from tests.accounts.conftest import sign_in
from tests.staff.cases import report
ann, bob = sign_in(), sign_in()
case = str(report(ann, "violence").pk)
print(json.dumps({"ann": ann.user_id, "bob": bob.user_id, "phone": bob.phone, "token": bob.token, "case": case}))
"""


class Member(Desk):
    """One of the staff, with a window of their own."""

    def __init__(self, stack: Any, browser: Any, name: str) -> None:
        super().__init__(stack, browser)
        self.name = name
        found = re.search(r"code\s+(\d{6})", manage(stack, "development_admin", name, "--password", PASSWORD))
        assert found is not None
        page = self.page
        self.open("/admin/")
        page.fill("input[name=username]", name)
        page.fill("input[name=password]", PASSWORD)
        page.click("#login-form button[type=submit]")
        page.fill("input[name=code]", found[1])
        page.click("form button[type=submit]")
        page.wait_for_url("**/admin/")

    def look(self, path: str) -> Any:
        self.open(path)
        looks_right(self.page, path)
        return self.page

    def press(self, button: str, **fields: str) -> None:
        """Fill in a form and send it."""
        for name, value in fields.items():
            self.page.fill(f"[name={name}]", value)
        with self.page.expect_navigation():
            self.page.click(f"form button:has-text('{button}')")
        looks_right(self.page, self.page.url)

    def follow(self, text: str) -> None:
        with self.page.expect_navigation():
            self.page.locator(f"a:visible:has-text('{text}')").first.click()
        looks_right(self.page, self.page.url)

    def follow_in(self, row: str, text: str) -> None:
        """In the row of a list that has these words: the lists have others' rows as well."""
        with self.page.expect_navigation():
            self.page.locator(f"tr:has-text('{row}') a:visible:has-text('{text}')").first.click()
        looks_right(self.page, self.page.url)

    def says(self, text: str) -> bool:
        return bool(self.page.locator("#main, body").first.get_by_text(text).first.is_visible())


@pytest.fixture(scope="module")
def made(stack: Any) -> dict[str, str]:
    found: dict[str, str] = json.loads(
        manage(stack, "shell", "--no-imports", "-c", _MAKE).strip().splitlines()[-1]
    )
    return found


@pytest.fixture(scope="module")
def staff(stack: Any, made: dict[str, str]) -> Iterator[list[Member]]:
    with chromium() as browser:
        yield [Member(stack, browser, name) for name in ("first-of-two", "second-of-two", "third")]


def test_a_ban_for_good_takes_two_who_have_looked(
    staff: list[Member], made: dict[str, str], stack: Any
) -> None:
    one, other, _ = staff
    page = one.look("/admin/")
    one.follow("Open cases")
    page.locator(f"a[href*='{made['case']}']").first.click()
    page.wait_for_url("**/moderation/cases/**")
    one.press("Claim")
    one.follow("Show the evidence")
    page.click(".mod-action-permanent")
    page.fill("#mod-act-permanent [name=note]", "the third account")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert one.says("A second person has to agree now.")
    page = other.look("/admin/")
    other.follow("Second person")
    other.follow_in(made["ann"], "Ban for good")
    assert other.says("Look at the evidence")
    page.fill("[name=reason]", REASON)
    page.keyboard.press("Enter")  # does not reject it: the only button there is
    assert page.locator("button:has-text('Reject')").is_visible()
    assert page.locator("button:has-text('Approve')").count() == 0
    other.follow("Violence")
    assert page.locator("button:has-text('Approve')").count() == 0
    other.follow("Show the evidence")
    other.press("Approve", note=REASON)
    assert other.says("The account is banned for good.")
    for each in staff:
        assert each.complaints == []


def test_an_appeal_against_two_takes_somebody_new_and_a_second(
    staff: list[Member], made: dict[str, str], stack: Any
) -> None:
    """Behind the one before."""
    one, other, third = staff
    find = (
        "from accounts.models import Sanction; from accounts.appeal_address import url; "
        f"print(url(str(Sanction.objects.get(account={made['ann']!r}).pk)))"
    )
    address = manage(stack, "shell", "--no-imports", "-c", find).strip().removeprefix(stack.http)
    owner = one.new_context(viewport={"width": 400, "height": 800})
    phone = owner.new_page()
    one.open(address, phone)
    phone.fill("textarea", "It was not me, my phone was stolen.")
    with phone.expect_navigation():
        phone.click("button")
    assert phone.get_by_text("We have your appeal").is_visible()
    for each in (one, third):
        each.look("/admin/")
        each.follow("Open appeals")
        each.follow_in(made["ann"], "Permanent")
        assert each.says("It was not me, my phone was stolen.")
        each.follow("Grant appeal…")
    assert one.says("somebody else looks at it")
    third.press("Grant and lift", reason=REASON)
    assert third.says("A second person")
    other.look("/admin/approvals/")
    other.follow_in("Grant the appeal", "Decide")
    other.press("Approve", reason=REASON)
    one.open(address, phone)
    assert phone.get_by_text("This account was banned").is_visible()
    assert phone.get_by_text("Your appeal was granted.").is_visible()
    owner.close()
    assert [each.complaints for each in staff] == [[], [], []]


def test_a_deletion_goes_on_behind_the_end_of_a_hold(
    staff: list[Member], made: dict[str, str], stack: Any
) -> None:
    one, other, _ = staff
    one.look("/admin/accounts/legalhold/")
    one.follow("Place a hold…")
    one.press("Place it", user=made["bob"], matter="9 Qs 1/26", days="30", reason=REASON)
    assert one.says("The hold is in force.")
    code = Sms(stack.data / "sms.jsonl").code(stack.http, made["phone"])
    request("DELETE", f"{stack.http}/me", {"code": code}, made["token"])
    other.look("/admin/accounts/erasure/")
    mine = f"tr:has-text('{made['bob']}') a"
    other.page.locator(mine).first.click()
    other.page.wait_for_url("**/change/")
    assert other.says("and then for a legal hold")
    one.follow("Ask for its end…")
    one.press("Ask", reason=REASON)
    assert one.says("It waits for a second person.")
    assert one.says("asked for by first-of-two")
    other.look("/admin/approvals/")
    other.follow_in("9 Qs 1/26", "Decide")
    assert other.says("9 Qs 1/26")
    other.press("Approve", reason=REASON)
    one.look(one.page.url.removeprefix(stack.http))
    assert one.says("Released")
    other.look("/admin/accounts/erasure/")
    other.page.locator(mine).first.click()
    other.page.wait_for_url("**/change/")
    assert other.says("what was sent and is still on its way")
    assert other.page.get_by_text("a legal hold").count() == 0
    assert [one.complaints, other.complaints] == [[], []]


def test_metadata_for_an_authority(staff: list[Member], made: dict[str, str], stack: Any) -> None:
    one, other, _ = staff
    one.look("/admin/accounts/lawfulrequest/")
    one.follow("Ask for metadata…")
    one.press(
        "Ask", authority="Local Court", reference="9 Qs 2/26", legal_basis="section 100g", users=made["ann"],
        since="2026-11-01", until="2026-11-20", reason=REASON,
    )  # fmt: skip
    assert one.says("It waits for a second person.")
    other.look("/admin/approvals/")
    other.follow_in("9 Qs 2/26", "Decide")
    other.press("Approve", reason=REASON)
    build = (
        "from accounts.models import LawfulRequest; from accounts.services import lawful; "
        "lawful.build(LawfulRequest.objects.get(reference='9 Qs 2/26').pk)"
    )
    manage(stack, "shell", "--no-imports", "-c", build)
    one.look(one.page.url.removeprefix(stack.http))
    one.follow("Fetch…")
    one.page.fill("[name=reason]", REASON)
    with one.page.expect_download() as fetched:
        one.page.click("form button:has-text('Fetch')")
    with zipfile.ZipFile(fetched.value.path()) as file:
        assert file.testzip() is None
        assert any(made["ann"].encode() in file.read(name) for name in file.namelist())
    assert [one.complaints, other.complaints] == [[], []]
