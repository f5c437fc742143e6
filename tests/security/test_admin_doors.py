"""Every address of the admin: closed without a session, closed with half of one, and to staff without the permission."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.accounts.conftest import _memory_layer, limits  # noqa: F401
from tests.staff.conftest import Staff, make_staff, superuser  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_server")]

#: What opens without a session: where one begins and ends.
OPEN = {"login", "logout", "second_factor", "enrol"}


def _doors(patterns: Any, prefix: str) -> list[tuple[str, str]]:
    found = []
    for entry in patterns:
        route = prefix + re.sub(r"<[^>]+>", "1", str(entry.pattern)).replace("^", "").replace(
            "$", ""
        ).replace("\\Z", "")
        if isinstance(entry, URLResolver):
            found += _doors(entry.url_patterns, route)
        elif isinstance(entry, URLPattern):
            found.append((entry.name or "", route))
    return found


def _admin() -> list[tuple[str, str]]:
    """(name, address)"""
    (admin,) = [
        entry
        for entry in get_resolver().url_patterns
        if isinstance(entry, URLResolver) and str(entry.pattern) == "admin/"
    ]
    return [(name, path) for name, path in _doors(admin.url_patterns, "/admin/") if "(" not in path]


def _shut(answer: Any) -> bool:
    if answer.status_code == 302:
        return "/admin/login/" in answer.headers["Location"] or "/second" in answer.headers["Location"]
    return answer.status_code in (301, 403, 404, 405)


def test_nothing_opens_without_a_session() -> None:
    doors = _admin()
    assert len(doors) > 20
    for name, path in doors:
        if name in OPEN:
            continue
        for method in ("get", "post"):
            answer = getattr(Client(), method)(path)
            assert _shut(answer), (method, path, answer.status_code)


def test_they_open_for_who_may(superuser: Staff) -> None:  # noqa: F811
    """Or the tests here would prove nothing."""
    superuser.client.raise_request_exception = False
    statuses = {path: superuser.client.get(path).status_code for name, path in _admin() if name != "logout"}
    assert [path for path, status in statuses.items() if status >= 500] == []
    assert list(statuses.values()).count(200) > 12, statuses


def test_staff_without_permissions_see_no_lists_and_change_nothing(make_staff: Any) -> None:  # noqa: F811
    nobody = make_staff("auth.view_permission")
    for name, path in _admin():
        if re.search(r"_(changelist|add|change|delete|history)$", name) and name != "password_change":
            assert nobody.client.get(path).status_code in (302, 403, 404), path


@pytest.mark.parametrize("everything", [False, True])
def test_a_password_alone_opens_nothing(everything: bool) -> None:
    """A session as Django's own login makes it, without the second factor."""
    user = User.objects.create_user(
        "half", password="long enough for all", is_staff=True, is_superuser=everything
    )
    client = Client()
    client.force_login(user)
    for name, path in _admin():
        if name in OPEN:
            continue
        answer = client.get(path)
        assert _shut(answer), (path, answer.status_code)
