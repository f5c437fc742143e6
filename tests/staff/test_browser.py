"""The admin in a real browser: signing in for the first time, every page without complaint, live updates, narrow and dark."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.staff.conftest import key_of
from tests.staff.test_live import manage
from tests.support.browser import chromium
from whatsapp.staff import second_factor

pytestmark = [pytest.mark.needs_packages, pytest.mark.timeout(400)]

NAME, PASSWORD = "first-superuser", "a password for the browser"
_MAKE = f"""
import json
from django.contrib.auth.models import User
from tests.staff.world import make_world
user = User.objects.create_superuser({NAME!r}, password={PASSWORD!r})
other = User.objects.create_user("colleague", is_staff=True)
from whatsapp.staff import audit
audit.record(by=user, on=other, message="Made for a test.")
world = make_world()
print(json.dumps({{"pages": world.pages(other.pk), "user": world.ann.user_id}}))
"""


class Desk:
    """A browser that is signed in, and everything it complained about."""

    def __init__(self, stack: Any, browser: Any) -> None:
        self.base = stack.http
        self.complaints: list[str] = []
        self.browser = browser
        self.context = self.new_context()
        self.page = self.context.new_page()

    def new_context(self, **options: Any) -> Any:
        context = self.browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **options})
        context.set_default_timeout(60_000)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        return context

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.page.url}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.complaints.append(f"asked somebody else: {request.url}")

    def _failed(self, request: Any) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # a page that is left while it still loads
            self.complaints.append(f"{request.url}: {request.failure}")

    def open(self, path: str, page: Any = None) -> None:
        page = page or self.page
        answer = page.goto(self.base + path, wait_until="load")
        assert answer.status == 200, (path, answer.status)
        page.evaluate("document.fonts.ready")

    def sign_in(self) -> None:
        page = self.page
        self.open("/admin/")
        page.fill("input[name=username]", NAME)
        page.fill("input[name=password]", PASSWORD)
        page.click("#login-form button[type=submit]")
        page.wait_for_url("**/admin/enrol/")
        assert page.locator(".staff-qr svg").is_visible()
        code = second_factor.code_at(key_of(page.content()), second_factor.now_step())
        page.fill("input[name=code]", code)
        page.click("form button[type=submit]")
        page.wait_for_selector("#staff-codes li")
        assert page.locator("#staff-codes li").count() == 10
        page.click("text=I have kept them")
        page.wait_for_url("**/admin/")


@pytest.fixture(scope="module")
def world(stack: Any) -> dict[str, Any]:
    printed = manage(stack, "shell", "--no-imports", "-c", _MAKE).strip().splitlines()[-1]
    made: dict[str, Any] = json.loads(printed)
    return made


@pytest.fixture(scope="module")
def desk(stack: Any, world: dict[str, Any]) -> Iterator[Desk]:
    with chromium() as browser:
        desk = Desk(stack, browser)
        desk.sign_in()
        yield desk


def colours(png: bytes) -> int:
    """How many different bytes a screenshot's picture data has, unpacked: a blank page has a handful."""
    data, at = b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += 12 + size
    return len(set(zlib.decompress(data)))


def looks_right(page: Any, path: str) -> None:
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than {width}"
    assert page.locator("#content").first.is_visible(), path
    assert colours(page.screenshot()) > 40, path


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_every_page_opens_without_complaint(desk: Desk, world: dict[str, Any], every: int) -> None:
    """CI opens a third of them in a browser; without one it opens all (``test_pages.py``)."""
    alike = ("?q=", "/history/", "/lift/", "solarschedule", "clockedschedule")  # others like them are opened
    for path in list(world["pages"])[::every]:
        if not any(word in path for word in alike):
            desk.open(path)
            looks_right(desk.page, path)
    assert desk.complaints == []


@pytest.mark.parametrize("looks", [{"viewport": {"width": 400, "height": 800}}, {"color_scheme": "dark"}])
def test_narrow_and_dark(desk: Desk, world: dict[str, Any], looks: dict[str, Any]) -> None:
    context = desk.new_context(storage_state=desk.context.storage_state(), **looks)
    page = context.new_page()
    wanted = (
        "/account/",
        "/device/",
        "/conversation/",
        "/media/media/",
        "/admin/online/",
        "/admin/jobs/",
        "/limits/",
        "/registrations/",
        "/retention/",
        "/user/",
    )
    for path in ["/admin/", *(path for path in world["pages"] if path.endswith(wanted))]:
        desk.open(path, page)
        looks_right(page, path)
    if "color_scheme" in looks:
        assert page.evaluate("document.documentElement.classList.contains('dark')")
    context.close()
    assert desk.complaints == []


def test_the_live_page_shows_who_comes(desk: Desk, world: dict[str, Any], stack: Any) -> None:
    from websockets.sync.client import connect

    issue = (
        "from accounts import tokens; from accounts.models import Device; from whatsapp.infra.clock import now_ms; "
        f"d = Device.objects.get(user={world['user']!r}); "
        "print(tokens.issue_access(user_id=str(d.user_id), device_id=str(d.pk), now=now_ms())[0])"
    )
    token = manage(stack, "shell", "--no-imports", "-c", issue).strip()
    desk.open("/admin/online/")
    desk.page.wait_for_selector("#online-live[data-state=live]")
    row = desk.page.locator("#online-rows tr", has_text=world["user"])
    assert row.count() == 0
    with connect(stack.ws, additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        assert json.loads(socket.recv(10))["type"] == "ready"
        row.wait_for()
        assert "3.2" in row.inner_text()
        assert row.locator("text=End session").is_visible()
    row.wait_for(state="detached")
    assert desk.complaints == []


def test_an_action_asks_why_and_is_done(desk: Desk, world: dict[str, Any]) -> None:
    page = desk.page
    desk.open(f"/admin/accounts/account/{world['user']}/change/")
    page.locator("li[x-data*=actionDropdownOpen] > a", has_text="Act").click()
    page.click("text=Ban…")
    page.wait_for_url("**/ban/")
    page.fill("input[name=reason]", "reported by many people")
    page.click("form button:has-text('Ban')")
    page.wait_for_url("**/change/")
    assert page.locator("text=The user is banned.").is_visible()
    desk.open("/admin/admin/logentry/")
    assert page.locator("td:has-text('reported by many people')").first.is_visible()
    # The menu of many: the question lists who was chosen.
    desk.open("/admin/accounts/account/")
    page.locator("input.action-select").nth(1).check()
    assert page.locator("select[name=action] option[value=lift_chosen]").count() == 1
    assert desk.complaints == []


def test_a_picture_is_blurred_until_somebody_clicks_on_it(desk: Desk, world: dict[str, Any]) -> None:
    page = desk.page
    photo = next(path for path in world["pages"] if re.fullmatch(r"/admin/media/media/[^/]+/change/", path))
    for path in ("/admin/media/media/", photo):
        desk.open(path)
        picture = page.locator(".staff-picture img").first
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 150
        blur = "image => getComputedStyle(image).filter"
        assert picture.evaluate(blur).startswith("blur(")
        picture.click()
        assert picture.evaluate(blur) == "none"
        picture.click()
        assert picture.evaluate(blur).startswith("blur(")
    desk.open(photo.replace("/change/", "/look/"))
    page.fill("input[name=reason]", "reported by many people")
    page.click("form button:has-text('Look at it')")
    link = page.locator("a:has-text('thumb')").get_attribute("href")
    assert link.startswith("/media/blobs/")
    answer = desk.browser.new_context().request.get(desk.base + link)  # nobody is signed in there
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert desk.complaints == []


def test_a_case_is_decided_by_keyboard_alone(desk: Desk, world: dict[str, Any]) -> None:
    page = desk.page
    desk.open("/admin/moderation/")
    case = next(path for path in world["pages"] if "/moderation/cases/" in path)
    page.keyboard.press("?")
    assert page.locator("#mod-help").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.getAttribute('href')") == case
    page.keyboard.press("Enter")
    page.wait_for_url("**/moderation/cases/**")
    assert page.locator("text=One more word.").count() == 0
    page.keyboard.press("c")
    page.wait_for_selector(".mod-actions")
    assert page.locator("text=One more word.").is_visible()
    assert re.fullmatch(r"\d+:\d\d (h|min)|\d+ d \d+ h", page.locator(".mod-timer").first.inner_text())
    page.keyboard.press("g")
    assert not page.evaluate("document.getElementById('mod').hasAttribute('data-gray')")
    page.keyboard.press("2")
    assert page.locator("#mod-act-unproven").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#mod-act-unproven").is_visible()
    page.keyboard.press("5")
    with page.expect_navigation():
        page.keyboard.press("Enter")  # the reason that is marked: the category
    assert page.locator("text=Decided: Suspend 24 h.").is_visible()
    desk.open(case)
    page.fill(".mod-second input[name=note]", "looked too fast")
    page.click("text=Reopen and lift")
    page.wait_for_selector("text=Undone")
    page.keyboard.press("c")
    page.wait_for_selector(".mod-actions")
    page.keyboard.press("3")
    page.fill("#mod-act-slow_down input[name=note]", "seen twice")
    with page.expect_navigation():
        page.keyboard.press("Enter")  # the same from the words for the log, not the first reason there is
    desk.open(case)
    assert page.locator("text=Harassment: seen twice").is_visible()
    assert desk.complaints == []


def test_signing_out(desk: Desk) -> None:
    page = desk.page
    desk.open("/admin/")
    with page.expect_navigation():
        page.locator("#logout-form").evaluate("form => form.submit()")
    desk.open("/admin/")
    assert page.locator("input[name=password]").is_visible()
    assert desk.complaints == []
