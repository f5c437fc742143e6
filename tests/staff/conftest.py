"""Staff with a second factor, in Django's test client: the pages as a browser gets them, on real PostgreSQL and Valkey."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tests.accounts.conftest import (  # noqa: F401  (fixtures)
    _memory_layer,
    limits,
    new_number,
    parallel,
    sign_in,
    told,
)
from whatsapp.staff import second_factor

PASSWORD = "a long enough password"
_numbers = itertools.count(1)


class Staff:
    """A member of staff and a browser."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.client = Client()
        self.key = b""

    def codes(self) -> list[str]:
        """Codes that are good now, one for each tolerated time step: a test that needs a second one takes the next."""
        step = second_factor.now_step()
        return [second_factor.code_at(self.key, step + offset) for offset in (-1, 0, 1)]

    def give_password(self, password: str = PASSWORD, **extra: Any) -> Any:
        return self.client.post(
            "/admin/login/", {"username": self.user.username, "password": password}, **extra
        )

    def enrol(self) -> list[str]:
        """Password, QR code, first code; the backup codes."""
        assert self.give_password().url == "/admin/enrol/"
        page = self.client.get("/admin/enrol/").content.decode()
        self.key = key_of(page)
        for _ in range(
            2
        ):  # its last moment may come while it is looked at; a newer code is another 30 s away from it
            answer = self.client.post("/admin/enrol/", {"code": self.codes()[0]})
            assert answer.status_code == 200
            if found := re.findall(r"<li>([a-z2-7-]+)</li>", answer.content.decode()):
                return found
        raise AssertionError("no code was accepted")

    def page(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, (path, answer.status_code, answer.headers.get("Location"))
        return answer.content.decode()


def key_of(page: str) -> bytes:
    """The authenticator's key that an enrolment page shows."""
    import base64

    found = re.search(r'id="staff-key">([A-Z2-7 ]+)<', page)
    assert found is not None, page
    return base64.b32decode(found[1].replace(" ", ""))


@pytest.fixture
def make_staff() -> Callable[..., Staff]:
    """``make_staff("accounts.view_account", …)``: staff with these permissions; ``make_staff(role="auditor")``: with those of a
    role; ``make_staff()``: a superuser. Signed in, unless ``signed_in=False``."""

    def make(
        *permissions: str, signed_in: bool = True, superuser: bool | None = None, role: str = ""
    ) -> Staff:
        user = User.objects.create_user(f"staff-{next(_numbers)}", password=PASSWORD, is_staff=True)
        user.is_superuser = not (permissions or role) if superuser is None else superuser
        user.save()
        if role:
            user.groups.add(Group.objects.get(name=role))
        for name in permissions:
            app, codename = name.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        staff = Staff(user)
        if signed_in:
            staff.enrol()
        return staff

    return make


@pytest.fixture
def superuser(make_staff: Callable[..., Staff]) -> Staff:
    return make_staff()
