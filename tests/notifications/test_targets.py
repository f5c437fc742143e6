"""Where a device is reached: what is taken, whose it is, and when it is forgotten."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.db import transaction

from accounts.models import Account, Device
from accounts.services import bans, recycling
from accounts.services.devices import unlink_device
from accounts.services.sessions import revoke_session
from accounts.tasks import unlink_idle
from notifications import vapid
from notifications.models import PushState, PushTarget
from notifications.senders.interface import PushApp
from tests.accounts.conftest import (  # noqa: F401
    Api,
    Person,
    _memory_layer,
    assert_problem,
    clock,
    limits,
    parallel,
    sign_in,
)
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

DAY_MS = 86_400_000
KEY = ec.generate_private_key(ec.SECP256R1())
ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/gAAAAABk"
KEYS = {
    "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "auth": "BTBZMqHH6r4Tts7J_aSIgg",
}


def text_of(key: ec.EllipticCurvePrivateKey) -> str:
    raw = key.private_numbers().private_value.to_bytes(32)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(autouse=True)
def apps(settings: Any) -> None:
    settings.PUSH_APPS = {
        "ios": PushApp("ios", "apns", {}),
        "ios-dev": PushApp("ios-dev", "apns", {}),
        "android": PushApp("android", "fcm", {}),
        "web": PushApp("web", "webpush", {"private_key": text_of(KEY)}),
    }


def new_token() -> str:
    return uuid.uuid4().hex * 2


def put(person: Person, *, device: str = "", **body: Any) -> Any:
    return person.api.put(f"/devices/{device or person.device_id}/push", body)


def set_push(person: Person, **more: Any) -> dict[str, Any]:
    answer = put(person, **{"app": "ios", "token": new_token(), **more})
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def target(person: Person) -> PushTarget | None:
    return PushTarget.objects.filter(pk=person.device_id).first()


def told(person: Person) -> None:
    """The device was told of something."""
    PushState.objects.create(target_id=person.device_id, conversation=uuid.uuid4(), seq=7, told_at=now_ms())


# -- what is taken -----------------------------------------------------------------------------------------------------------


def test_a_phone_is_set_and_read_back_without_its_token() -> None:
    ann, token = sign_in(), new_token()
    quiet = {"from": "22:00", "until": "07:05", "timeZone": "Europe/Berlin"}
    before = now_ms()
    answer = put(
        ann, app="ios", token=token.upper(), callToken="CD" * 32, keys=KEYS, preview=False, quietHours=quiet
    )
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert before <= body.pop("setAt") <= now_ms()
    assert body == {
        "deviceId": ann.device_id,
        "app": "ios",
        "provider": "apns",
        "token": f"…{token[-6:]}",
        "encrypted": True,
        "preview": False,
        "quietHours": quiet,
    }
    assert token not in answer.content.decode().lower()
    kept = target(ann)
    assert kept is not None
    assert (kept.token, kept.call_token, kept.app, kept.preview) == (token, "cd" * 32, "ios", False)
    assert bytes(kept.p256dh or b"") == base64.urlsafe_b64decode(KEYS["p256dh"] + "=")
    assert bytes(kept.auth or b"") == base64.urlsafe_b64decode(KEYS["auth"] + "==")
    assert (kept.quiet_from, kept.quiet_until, kept.time_zone) == (1320, 425, "Europe/Berlin")


def test_a_browser_gives_its_subscription_as_it_is() -> None:
    ann = sign_in()
    given = {"endpoint": ENDPOINT, "expirationTime": None, "keys": KEYS}
    answer = put(ann, app="web", subscription=given)
    assert answer.status_code == 200, answer.content
    assert answer.json()["provider"] == "webpush"
    kept = target(ann)
    assert kept is not None
    assert (kept.token, kept.preview, kept.quiet_from) == (ENDPOINT, True, None)
    assert len(bytes(kept.p256dh or b"")) == 65
    # The same in the other words.
    assert put(ann, app="web", token=ENDPOINT, keys=KEYS).status_code == 200


def test_keys_may_be_written_as_other_bytes_are() -> None:
    ann = sign_in()
    standard = {
        name: base64.b64encode(base64.urlsafe_b64decode(text + "==")).decode() for name, text in KEYS.items()
    }
    assert standard != KEYS
    set_push(ann, keys=standard)
    kept = target(ann)
    assert kept is not None
    assert bytes(kept.p256dh or b"") == base64.urlsafe_b64decode(KEYS["p256dh"] + "=")


NO_POINT = base64.urlsafe_b64encode(b"\x04" + bytes(64)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"token": "ab" * 32}, "app"),
        ({"app": "windows", "token": "ab" * 32}, "app"),
        ({"app": "IOS", "token": "ab" * 32}, "app"),
        ({"app": "ios"}, "token"),
        ({"app": "ios", "token": ""}, "token"),
        ({"app": "ios", "token": "ab" * 31}, "token"),
        ({"app": "ios", "token": "ab" * 101}, "token"),
        ({"app": "ios", "token": "ab" * 32 + "a"}, "token"),
        ({"app": "ios", "token": "xy" * 32}, "token"),
        ({"app": "ios", "token": "ab" * 32 + "\n"}, "token"),
        ({"app": "ios", "token": 7}, "token"),
        ({"app": "ios", "token": "ab" * 32, "keys": None}, "keys"),
        ({"app": "ios", "token": "ab" * 32, "keys": {"auth": KEYS["auth"]}}, "keys.p256dh"),
        ({"app": "ios", "token": "ab" * 32, "keys": {**KEYS, "auth": "BTBZ"}}, "keys.auth"),
        ({"app": "ios", "token": "ab" * 32, "keys": {**KEYS, "p256dh": NO_POINT}}, "keys"),
        ({"app": "ios", "token": "ab" * 32, "preview": "yes"}, "preview"),
        ({"app": "ios", "token": "ab" * 32, "callToken": "ab" * 31}, "callToken"),
        ({"app": "android", "token": "a-registration-token", "callToken": "ab" * 32}, "callToken"),
        ({"app": "android", "token": "short"}, "token"),
        ({"app": "android", "token": "with a space"}, "token"),
        ({"app": "android", "token": "ü" * 20}, "token"),
        ({"app": "android", "token": "x" * 4097}, "token"),
        ({"app": "web", "token": ENDPOINT}, "keys"),
        ({"app": "web", "token": "https://10.0.0.1/x", "keys": KEYS}, "token"),
        ({"app": "web", "token": "http://updates.push.services.mozilla.com/x", "keys": KEYS}, "token"),
        ({"app": "web", "subscription": {"endpoint": ENDPOINT}}, "subscription.keys"),
        ({"app": "web", "subscription": {"keys": KEYS}}, "subscription.endpoint"),
        (
            {"app": "web", "subscription": {"endpoint": "https://localhost/x", "keys": KEYS}},
            "subscription.endpoint",
        ),
        (
            {"app": "web", "subscription": {"endpoint": "https://evil.example/x", "keys": KEYS}},
            "subscription.endpoint",
        ),
        ({"app": "web", "token": ENDPOINT, "subscription": {"endpoint": ENDPOINT, "keys": KEYS}}, "token"),
    ],
)
def test_what_cannot_be_reached_is_refused_and_its_field_named(body: dict[str, Any], field: str) -> None:
    ann = sign_in()
    problem = assert_problem(put(ann, **body), "bad_request", 400)
    assert problem["details"] == {"field": field}
    assert target(ann) is None


@pytest.mark.parametrize(
    ("quiet", "field"),
    [
        ({"from": "22:00", "until": "07:00"}, "quietHours.timeZone"),
        ({"from": "24:00", "until": "07:00", "timeZone": "UTC"}, "quietHours.from"),
        ({"from": "22:00", "until": "7:00", "timeZone": "UTC"}, "quietHours.until"),
        ({"from": "22:00", "until": "22:00", "timeZone": "UTC"}, "quietHours.until"),
        ({"from": "22:00", "until": "07:00", "timeZone": "Europe/Atlantis"}, "quietHours.timeZone"),
        ({"from": "22:00", "until": "07:00", "timeZone": "../../etc/passwd"}, "quietHours.timeZone"),
        ({"from": "22:00", "until": "07:00", "timeZone": "/etc/localtime"}, "quietHours.timeZone"),
    ],
)
def test_quiet_hours_are_minutes_in_a_zone_that_exists(quiet: dict[str, str], field: str) -> None:
    ann = sign_in()
    answer = put(ann, app="ios", token=new_token(), quietHours=quiet)
    assert assert_problem(answer, "bad_request", 400)["details"] == {"field": field}


def test_apps_are_listed_with_the_key_of_browsers() -> None:
    items = sign_in().api.get("/push/apps").json()["items"]
    assert items == [
        {"app": "ios", "provider": "apns"},
        {"app": "ios-dev", "provider": "apns"},
        {"app": "android", "provider": "fcm"},
        {"app": "web", "provider": "webpush", "vapidKey": vapid.public_text(KEY)},
    ]
    point = base64.urlsafe_b64decode(items[3]["vapidKey"] + "=")
    assert ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point) == KEY.public_key()


def test_the_key_of_browsers_may_be_in_a_file(settings: Any, tmp_path: Any) -> None:
    file = tmp_path / "key.pem"
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (pem, text_of(KEY).encode() + b"\n"):
        file.write_bytes(content)
        settings.PUSH_APPS = {
            f"web{len(content)}": PushApp(f"web{len(content)}", "webpush", {"key_file": str(file)})
        }
        (item,) = sign_in().api.get("/push/apps").json()["items"]
        assert item["vapidKey"] == vapid.public_text(KEY)


@pytest.mark.parametrize("options", [{}, {"private_key": "nonsense"}, {"key_file": "/nowhere"}])
def test_an_app_without_a_key_is_listed_without(settings: Any, options: dict[str, str]) -> None:
    settings.PUSH_APPS = {"web": PushApp("web", "webpush", options)}
    assert sign_in().api.get("/push/apps").json()["items"] == [{"app": "web", "provider": "webpush"}]


def test_without_apps_it_is_switched_off(settings: Any) -> None:
    settings.PUSH_APPS = {}
    ann = sign_in()
    assert_problem(put(ann, app="ios", token=new_token()), "feature_disabled", 501)
    assert ann.api.get("/push/apps").json() == {"items": []}
    assert ann.api.delete(f"/devices/{ann.device_id}/push").status_code == 204


# -- whose it is -------------------------------------------------------------------------------------------------------------


def test_the_same_again_changes_nothing_and_another_takes_its_place(clock: Callable[[int], None]) -> None:  # noqa: F811
    ann, token = sign_in(), new_token()
    set_push(ann, token=token, keys=KEYS)
    told(ann)
    PushTarget.objects.update(success_at=5, error_at=6, error="QUOTA_EXCEEDED", badge=3)
    clock(10_000)
    first = target(ann)
    set_push(ann, token=token, keys=KEYS)
    again = target(ann)
    assert first is not None
    assert again is not None
    assert again.set_at >= first.set_at + 10_000
    assert (again.success_at, again.error_at, again.error, again.badge) == (5, 6, "QUOTA_EXCEEDED", 3)
    set_push(ann, app="android", token="another-registration-token")
    other = target(ann)
    assert other is not None
    assert (other.app, other.token, other.p256dh, other.auth) == (
        "android",
        "another-registration-token",
        None,
        None,
    )
    assert (other.success_at, other.error_at, other.error) == (None, None, "")
    assert other.badge == 3  # the icon still shows it
    assert PushState.objects.filter(target=ann.device_id).count() == 1


def test_a_token_goes_with_who_brings_it_last() -> None:
    ann, bob, token = sign_in(), sign_in(), new_token()
    set_push(ann, token=token)
    told(ann)
    set_push(bob, app="ios-dev", token=token)  # of another app: another token
    assert target(ann) is not None
    set_push(bob, token=token)
    assert target(ann) is None
    assert not PushState.objects.filter(target=ann.device_id).exists()
    kept = target(bob)
    assert kept is not None
    assert kept.app == "ios"


def test_only_the_device_itself_sets_it() -> None:
    ann, eve = sign_in(), sign_in()
    laptop = sign_in(ann.phone, deviceName="laptop")
    gone = sign_in(ann.phone, deviceName="tablet")
    assert ann.api.delete(f"/devices/{gone.device_id}").status_code == 204
    set_push(ann)
    body = {"app": "ios", "token": new_token()}
    for person, device, refusal in (
        (eve, ann.device_id, ("not_found", 404)),
        (ann, gone.device_id, ("not_found", 404)),
        (ann, str(uuid.uuid4()), ("not_found", 404)),
        (laptop, ann.device_id, ("forbidden", 403)),
    ):
        assert_problem(put(person, device=device, **body), *refusal)
        assert_problem(person.api.delete(f"/devices/{device}/push"), *refusal)
    assert PushTarget.objects.filter(pk__in=[laptop.device_id, gone.device_id, eve.device_id]).count() == 0
    assert target(ann) is not None


def test_it_ends_when_the_device_says_so() -> None:
    ann = sign_in()
    set_push(ann)
    told(ann)
    for _ in range(2):
        answer = ann.api.delete(f"/devices/{ann.device_id}/push")
        assert (answer.status_code, answer.content) == (204, b"")
    assert target(ann) is None
    assert PushState.objects.count() == 0


def test_changes_are_counted(limits: Any) -> None:  # noqa: F811
    limits(push_targets_per_hour=2)
    ann, bob = sign_in(), sign_in()
    for _ in range(2):
        set_push(ann)
    problem = assert_problem(put(ann, app="ios", token=new_token()), "rate_limited", 429)
    assert problem["retryAfterMs"] > 0
    set_push(bob)
    assert ann.api.delete(f"/devices/{ann.device_id}/push").status_code == 204  # to end it is always allowed


@pytest.mark.django_db(transaction=True)
def test_devices_that_bring_one_token_at_once_leave_one_with_it() -> None:
    people = [sign_in() for _ in range(6)]
    token, waiting = new_token(), list(people)
    answers = parallel(6, lambda: put(waiting.pop(), app="ios", token=token))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert PushTarget.objects.filter(app="ios", token=token).count() == 1


@pytest.mark.django_db(transaction=True)
def test_devices_that_exchange_their_tokens_do_not_wait_for_each_other_for_ever() -> None:
    ann, bob = sign_in(), sign_in()
    first, second = new_token(), new_token()
    for _ in range(5):
        set_push(ann, token=first)
        set_push(bob, token=second)
        turns = [(ann, second), (bob, first)]

        def exchange() -> Any:
            person, token = turns.pop()  # noqa: B023
            return put(person, app="ios", token=token)

        assert [answer.status_code for answer in parallel(2, exchange)] == [200, 200]


# -- when it is forgotten ----------------------------------------------------------------------------------------------------


def device(person: Person) -> Device:
    return Device.objects.select_related("user").get(pk=person.device_id)


def by_itself(person: Person) -> None:
    assert person.api.delete(f"/devices/{person.device_id}").status_code == 204


def by_logout(person: Person) -> None:
    assert person.api.post("/auth/logout").status_code == 204


def by_staff(person: Person) -> None:
    unlink_device(account=device(person).user, device_id=uuid.UUID(person.device_id), reason="staff")


def by_another_device(person: Person) -> None:
    other = sign_in(person.phone, deviceName="laptop")
    assert other.api.delete(f"/devices/{person.device_id}").status_code == 204


def with_its_account(person: Person) -> None:
    with transaction.atomic():
        recycling.retire(account=Account.objects.select_for_update().get(pk=person.user_id), now=now_ms())


def by_a_stolen_token(person: Person) -> None:
    assert Api().post("/auth/refresh", {"refreshToken": person.refresh_token}).status_code == 200
    assert_problem(
        Api().post("/auth/refresh", {"refreshToken": person.refresh_token}), "unauthenticated", 401
    )


def by_a_revoked_session(person: Person) -> None:
    with transaction.atomic():
        revoke_session(device=Device.objects.select_for_update().get(pk=person.device_id), now=now_ms())


@pytest.mark.parametrize(
    "end",
    [
        by_itself,
        by_logout,
        by_staff,
        by_another_device,
        with_its_account,
        by_a_stolen_token,
        by_a_revoked_session,
    ],
)
def test_it_goes_with_the_session(end: Callable[[Person], None]) -> None:
    ann, bob = sign_in(), sign_in()
    set_push(ann)
    set_push(bob)
    told(ann)
    end(ann)
    assert target(ann) is None
    assert PushState.objects.filter(target=ann.device_id).count() == 0
    assert target(bob) is not None


def test_it_goes_when_the_number_is_verified_on_the_device_again(clock: Callable[[int], None]) -> None:  # noqa: F811
    """Who verifies it may be somebody else, with a token of the device's: they are not who set this."""
    ann = sign_in()
    set_push(ann)
    clock(1_000)
    again = sign_in(ann.phone, refreshToken=ann.refresh_token)
    assert again.device_id == ann.device_id
    assert target(ann) is None
    set_push(again)
    assert target(ann) is not None


def test_it_stays_when_the_session_goes_on(clock: Callable[[int], None]) -> None:  # noqa: F811
    ann = sign_in()
    set_push(ann)
    clock(1_000)
    assert Api().post("/auth/refresh", {"refreshToken": ann.refresh_token}).status_code == 200
    sign_in(ann.phone, deviceName="laptop")
    assert target(ann) is not None


def test_it_goes_when_nobody_uses_the_device(clock: Callable[[int], None]) -> None:  # noqa: F811
    phone = sign_in()
    laptop = sign_in(phone.phone, deviceName="laptop")
    set_push(laptop)
    clock(28 * DAY_MS)
    unlink_idle()
    clock(4 * DAY_MS)
    assert unlink_idle() == 1
    assert target(laptop) is None


def test_a_ban_keeps_it() -> None:
    ann = sign_in()
    set_push(ann)
    bans.ban(account=device(ann).user, until=now_ms() + DAY_MS)
    assert target(ann) is not None
    assert_problem(put(ann, app="ios", token=new_token()), "banned", 403)


def test_what_undoes_the_unlinking_undoes_this() -> None:
    ann = sign_in()
    set_push(ann)
    with pytest.raises(RuntimeError), transaction.atomic():
        by_staff(ann)
        assert target(ann) is None
        raise RuntimeError
    assert target(ann) is not None


@pytest.mark.django_db(transaction=True)
def test_a_device_that_is_unlinked_meanwhile_leaves_nothing() -> None:
    """Both in any order: what was set goes, or it is not set any more."""
    for _ in range(8):
        ann = sign_in()
        account, token = Account.objects.get(pk=ann.user_id), new_token()
        turns: list[Callable[[], Any]] = [
            partial(put, ann, app="ios", token=token),
            partial(unlink_device, account=account, device_id=uuid.UUID(ann.device_id), reason="staff"),
        ]
        parallel(2, lambda: turns.pop()())  # noqa: B023
        assert target(ann) is None


def test_a_session_that_ended_since_the_request_was_let_in_sets_nothing() -> None:
    from accounts.errors import Refused
    from notifications.services.targets import Wanted, set_target

    ann = sign_in()
    read_before = device(ann)
    by_a_revoked_session(ann)
    with pytest.raises(Refused) as refused:
        set_target(device=read_before, wanted=Wanted("ios", new_token(), None, None))
    assert refused.value.code == "unauthenticated"
    assert target(ann) is None
