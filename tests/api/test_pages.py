"""What people see: the documentation that makes calls, and the API's own answers in a browser."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from typing import Any

import pytest
from django.test import Client

from tests.api.people import SignedUp, Sms, sign_up
from tests.support.browser import chromium

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def get(url: str, **headers: str) -> tuple[int, Any, str]:
    """Status, headers and text."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


@pytest.fixture(scope="module")
def person(stack: Any) -> SignedUp:
    return sign_up(stack.http, Sms(str(stack.data / "sms.jsonl")))


def test_the_documentation_runs_only_files_of_this_server(stack: Any) -> None:
    status, headers, page = get(f"{stack.http}/schema/docs", Accept=BROWSER)
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son\w+=|style=|https?://", page)
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(files) == 4
    for file in files:
        assert get(stack.http + file)[0] == 200, file


def test_an_address_in_a_browser_is_a_page(stack: Any, person: SignedUp) -> None:
    status, headers, page = get(f"{stack.http}/me", Accept=BROWSER)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="api"')
    assert headers["Content-Type"].startswith("text/html")
    assert "/problems/unauthenticated" in page
    assert "/schema/docs" in page
    status, headers, page = get(f"{stack.http}/me", Accept=BROWSER, Authorization=f"Bearer {person.token}")
    assert status == 200
    assert person.user_id in page
    assert headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in headers
    assert get(stack.http + "/static/api/page.css")[0] == 200


def test_what_a_client_wrote_is_text_in_it(stack: Any, person: SignedUp) -> None:
    person.call("PATCH", "/me", {"about": "</pre><script>alert(1)</script>"})
    for path in ("/me", "/me?x=<script>alert(1)</script>", "/contacts?limit=<script>"):
        _, headers, page = get(
            stack.http + path.replace(" ", "%20"), Accept=BROWSER, Authorization=f"Bearer {person.token}"
        )
        assert "<script" not in page
        assert "script-src" not in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_programs_get_json(stack: Any, person: SignedUp) -> None:
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.9", "application/*"):
        _, headers, _ = get(f"{stack.http}/me", Accept=accept, Authorization=f"Bearer {person.token}")
        assert headers["Content-Type"] == "application/json", accept


def test_pages_are_for_development_only() -> None:
    """These tests run with settings of their own, which offer what production offers."""
    answer = Client().get("/me", headers={"Accept": "text/html"})
    assert answer.status_code == 406
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (
        Client().get("/me", headers={"Accept": BROWSER}).headers["Content-Type"] == "application/problem+json"
    )


@pytest.mark.long
@pytest.mark.needs_packages
def test_a_person_tries_a_call_in_the_documentation(stack: Any, person: SignedUp) -> None:
    from playwright.sync_api import expect

    complaints: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{stack.http}/schema/docs")
        page.click(".btn.authorize")
        page.fill(".auth-container input", person.token)
        page.click(".auth-btn-wrapper .authorize")
        page.click(".btn-done")
        page.click("#operations-me-me .opblock-summary-control")
        page.click("#operations-me-me .execute")
        answer = page.locator("#operations-me-me .live-responses-table")
        expect(answer).to_contain_text(person.user_id, timeout=30_000)
        # A link of the three steps opens its operation.
        page.click(".token a[href='#/auth/verify']")
        expect(page.locator("#operations-auth-verify .execute")).to_be_visible(timeout=30_000)
        # What may be left out is empty: an example's idempotency key would make every second try a repeat of the first.
        expect(
            page.locator("#operations-auth-verify [data-param-name='X-Idempotency-Key'] input")
        ).to_have_value("")
        stored = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert complaints == []
    assert stored == [0, 0, ""]  # the token is gone with the page
