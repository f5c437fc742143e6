"""Passwords, second factors, sessions: nobody gets in with less, and guessing is bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client

from tests.staff.conftest import PASSWORD, Staff, key_of, parallel
from whatsapp.staff import second_factor
from whatsapp.staff.models import Authenticator, BackupCode

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
LOGIN = "/admin/login/"


def refused(client: Client, path: str = "/admin/") -> bool:
    answer = client.get(path)
    return answer.status_code == 302 and answer.url.startswith(LOGIN)


def test_the_first_login_enrols_and_only_then_pages_open(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    assert refused(staff.client)
    assert staff.give_password().url == "/admin/enrol/"
    assert refused(staff.client)  # a password alone opens nothing
    page = staff.page("/admin/enrol/")
    assert "<svg" in page
    assert "viewBox=" in page  # without it the style sheet cuts the QR code instead of scaling it
    staff.key = key_of(page)
    assert "This code is wrong" in staff.client.post("/admin/enrol/", {"code": "000000"}).content.decode()
    assert refused(staff.client)
    answer = staff.client.post("/admin/enrol/", {"code": staff.codes()[1]})
    assert answer.content.decode().count("<li>") == second_factor.BACKUP_CODES
    assert "Dashboard" in staff.page("/admin/")


def test_later_logins_ask_for_a_code_and_a_code_counts_once(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    staff.enrol()
    staff.client.post("/admin/logout/")
    assert refused(staff.client)
    assert staff.give_password().url == "/admin/second-factor/"
    used = Authenticator.objects.get(user=staff.user).last_step
    again = second_factor.code_at(staff.key, used)
    assert (
        staff.client.post("/admin/second-factor/", {"code": again}).status_code == 200
    )  # the form, with an error
    assert refused(staff.client)
    fresh = second_factor.code_at(staff.key, used + 1)
    assert staff.client.post("/admin/second-factor/", {"code": fresh}).url == "/admin/"
    assert "Dashboard" in staff.page("/admin/")


def test_one_code_sent_twice_at_once_opens_one_door(transactional_db: Any, make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    staff.enrol()
    code = second_factor.code_at(staff.key, Authenticator.objects.get(user=staff.user).last_step + 1)
    opened = parallel(4, lambda: second_factor.verify(user=staff.user, code=code) is not None)
    assert sorted(opened) == [False, False, False, True]


def test_a_backup_code_works_once(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    codes = staff.enrol()
    assert len(codes) == len(set(codes)) == 10
    for code, works in ((codes[3].upper(), True), (codes[3], False), (codes[4].replace("-", " "), True)):
        staff.client.post("/admin/logout/")
        staff.give_password()
        answer = staff.client.post("/admin/second-factor/", {"code": code})
        assert (answer.status_code == 302) is works
    assert BackupCode.objects.filter(user=staff.user).count() == 8
    assert "8</strong> of 10" in staff.page("/admin/security/")


def test_new_backup_codes_make_the_old_ones_void(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    old = staff.enrol()
    step = Authenticator.objects.get(user=staff.user).last_step
    wrong = staff.client.post("/admin/security/", {"code": old[0] + "x", "codes": "1"}).content.decode()
    assert "This code is wrong" in wrong
    answer = staff.client.post(
        "/admin/security/", {"code": second_factor.code_at(staff.key, step + 1), "codes": "1"}
    )
    new = answer.content.decode()
    assert new.count("<li>") == 10
    assert not any(code in new for code in old)
    assert second_factor.verify(user=staff.user, code=old[0]) is None


def test_another_authenticator_is_enrolled_at_the_next_login(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    codes = staff.enrol()
    first = staff.key
    assert staff.client.post("/admin/security/", {"code": codes[0], "replace": "1"}).url == LOGIN
    assert refused(staff.client)
    staff.enrol()
    assert staff.key != first
    assert "Dashboard" in staff.page("/admin/")


def test_two_browsers_that_enrol_see_different_keys_and_the_first_wins(make_staff: Make) -> None:
    staff, thief = make_staff(signed_in=False), Client()
    thief.post(LOGIN, {"username": staff.user.username, "password": PASSWORD})
    seen = key_of(thief.get("/admin/enrol/").content.decode())
    staff.enrol()
    assert staff.key != seen
    code = second_factor.code_at(seen, second_factor.now_step())
    assert thief.post("/admin/enrol/", {"code": code}).url == "/admin/second-factor/"
    assert thief.post("/admin/second-factor/", {"code": code}).status_code == 200
    assert refused(thief)


def test_a_session_that_djangos_own_login_made_opens_nothing(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    staff.client.force_login(staff.user)
    assert refused(staff.client)
    assert refused(staff.client, "/admin/accounts/account/")


def test_people_who_are_no_staff_do_not_get_to_the_second_step() -> None:
    User.objects.create_user("nobody", password=PASSWORD)
    client = Client()
    answer = client.post(LOGIN, {"username": "nobody", "password": PASSWORD})
    assert answer.status_code == 200
    assert client.get("/admin/second-factor/").url == LOGIN


def test_the_second_step_forgets_after_ten_minutes_and_after_a_new_password(
    make_staff: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whatsapp.staff import signin

    staff = make_staff(signed_in=False)
    staff.enrol()
    staff.client.post("/admin/logout/")
    staff.give_password()
    now = signin.now_ms
    monkeypatch.setattr(signin, "now_ms", lambda: now() + 601_000)
    assert staff.client.get("/admin/second-factor/").url == LOGIN
    monkeypatch.undo()
    staff.give_password()
    staff.user.set_password("another long password")
    staff.user.save()
    assert staff.client.get("/admin/second-factor/").url == LOGIN


def test_the_session_key_changes_at_both_steps(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    name = settings.SESSION_COOKIE_NAME
    keys = []
    staff.give_password()
    keys.append(staff.client.cookies[name].value)
    staff.key = key_of(staff.page("/admin/enrol/"))
    staff.client.post("/admin/enrol/", {"code": staff.codes()[1]})
    keys.append(staff.client.cookies[name].value)
    assert len(set(keys)) == 2
    old = Client()
    old.cookies[name] = keys[0]
    assert refused(old)
    staff.client.post("/admin/logout/")
    old.cookies[name] = keys[1]
    assert refused(old)  # logout ends the session on the server


def test_passwords_are_guessed_slowly(make_staff: Make, limits: Callable[..., None]) -> None:
    limits(staff_logins_per_name_and_address=3)
    staff = make_staff(signed_in=False)
    for _ in range(3):
        assert "correct username and password" in staff.give_password("wrong").content.decode()
    assert "Too many attempts" in staff.give_password().content.decode()  # the right one too
    elsewhere = staff.client.post(
        LOGIN, {"username": staff.user.username, "password": PASSWORD}, REMOTE_ADDR="203.0.113.9"
    )
    assert elsewhere.status_code == 302  # nobody locks somebody else out from afar


@pytest.mark.parametrize("limit", ["staff_logins_per_name", "staff_logins_per_address"])
def test_passwords_are_guessed_slowly_from_many_places_too(
    make_staff: Make, limits: Callable[..., None], limit: str
) -> None:
    limits(**{limit: 4})
    staff = make_staff(signed_in=False)
    answers = []
    for number in range(6):
        name = staff.user.username if limit.endswith("name") else f"guess-{number}-{staff.user.pk}"
        address = f"198.51.100.{number}" if limit.endswith("name") else f"192.0.2.{staff.user.pk % 250}"
        answer = Client().post(LOGIN, {"username": name, "password": "wrong"}, REMOTE_ADDR=address)
        answers.append("Too many attempts" in answer.content.decode())
    assert answers == [False] * 4 + [True] * 2


def test_codes_are_guessed_slowly(make_staff: Make, limits: Callable[..., None]) -> None:
    staff = make_staff(signed_in=False)
    staff.enrol()
    staff.client.post("/admin/logout/")
    staff.give_password()
    limits(staff_codes_per_quarter=4)  # one was the enrolment's
    for _ in range(3):
        assert (
            "wrong or was used"
            in staff.client.post("/admin/second-factor/", {"code": "123456"}).content.decode()
        )
    right = second_factor.code_at(staff.key, Authenticator.objects.get(user=staff.user).last_step + 1)
    assert "Too many attempts" in staff.client.post("/admin/second-factor/", {"code": right}).content.decode()
    assert refused(staff.client)


def test_neither_key_nor_codes_are_readable_in_the_database(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    codes = staff.enrol()
    with connection.cursor() as cursor:
        cursor.execute("SELECT secret FROM staff_authenticator WHERE user_id = %s", [staff.user.pk])
        sealed = bytes(cursor.fetchone()[0])
        cursor.execute("SELECT digest FROM staff_backupcode WHERE user_id = %s", [staff.user.pk])
        digests = b"".join(bytes(row[0]) for row in cursor.fetchall())
    assert staff.key not in sealed
    assert second_factor.unseal(sealed, staff.user.pk) == staff.key
    assert second_factor.unseal(sealed, staff.user.pk + 1) is None  # it is bound to its owner
    assert not any(code.replace("-", "").encode() in digests for code in codes)


def test_a_new_secret_key_keeps_factors_while_the_old_one_is_a_fallback(
    make_staff: Make, settings: Any
) -> None:
    staff = make_staff(signed_in=False)
    codes = staff.enrol()
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another" * 10
    code = second_factor.code_at(staff.key, Authenticator.objects.get(user=staff.user).last_step + 1)
    assert second_factor.verify(user=staff.user, code=code) is not None
    assert second_factor.verify(user=staff.user, code=codes[0]) is not None
    settings.SECRET_KEY_FALLBACKS = []
    assert second_factor.verify(user=staff.user, code=codes[1]) is None


def test_another_superuser_resets_a_lost_factor(make_staff: Make, superuser: Staff) -> None:
    lost = make_staff("accounts.view_account")
    path = f"/admin/auth/user/{lost.user.pk}/reset-factor/"
    assert lost.client.post(path, {"reason": "I want to"}).status_code == 403
    assert "least 5 characters" in superuser.client.post(path, {"reason": "no"}).content.decode()
    assert superuser.client.post(path, {"reason": "phone was stolen"}).status_code == 302
    assert refused(lost.client, "/admin/accounts/account/")  # open sessions end
    assert lost.give_password().url == "/admin/enrol/"
    entry = LogEntry.objects.filter(user=superuser.user).latest("pk")
    assert (entry.object_id, "phone was stolen" in entry.change_message) == (str(lost.user.pk), True)
    # Not one's own: that would be a way around the second factor. So nothing leads there.
    page = f"/admin/auth/user/{superuser.user.pk}"
    assert superuser.client.post(f"{page}/reset-factor/", {"reason": "mine too"}).status_code in (403, 404)
    assert "reset-factor" not in superuser.client.get(f"{page}/change/").content.decode()
    assert "reset-factor" in superuser.client.get(path.replace("reset-factor", "change")).content.decode()


def test_the_commands_for_recovery_and_development(make_staff: Make, capsys: Any, settings: Any) -> None:
    staff = make_staff()
    call_command("reset_second_factor", staff.user.username)
    assert refused(staff.client)
    with pytest.raises(CommandError):
        call_command("reset_second_factor", "nobody at all")
    call_command("development_admin", "developer", password="for this machine")
    printed = capsys.readouterr().out
    developer = Staff(User.objects.get(username="developer"))
    developer.give_password("for this machine")
    code = printed.split("code")[1].split(",")[0].strip()
    assert developer.client.post("/admin/second-factor/", {"code": code}).url == "/admin/"
    settings.WHATSAPP_ENV = "production"
    with pytest.raises(CommandError):
        call_command("development_admin", "developer")


def test_no_open_redirect_after_signing_in(make_staff: Make) -> None:
    staff = make_staff(signed_in=False)
    staff.client.post(
        f"{LOGIN}?next=https://evil.example/", {"username": staff.user.username, "password": PASSWORD}
    )
    staff.key = key_of(staff.page("/admin/enrol/"))
    page = staff.client.post("/admin/enrol/", {"code": staff.codes()[1]}).content.decode()
    assert "evil.example" not in page
    assert 'href="/admin/"' in page


def test_signing_in_is_in_the_audit_log(make_staff: Make) -> None:
    staff = make_staff()
    staff.client.post("/admin/logout/")
    staff.give_password()
    staff.client.post("/admin/second-factor/", {"code": "999999"})
    said = list(
        LogEntry.objects.filter(user=staff.user).order_by("pk").values_list("change_message", flat=True)
    )
    assert said == [
        "Enrolled an authenticator and signed in.",
        "Signed out.",
        "Gave a wrong code after the right password.",
    ]
