"""Which addresses a client may make our servers ask."""

from __future__ import annotations

import pytest

from notifications.endpoints import MAX_LENGTH, refusal

NOT_ALLOWED = "is not at a host that is allowed here"
NOT_PUBLIC = "is not at a public host"
NO_ADDRESS = "must be an https address, as the browser gives it"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/dQw4:APA91b-x_y",
        "https://updates.push.services.mozilla.com/wpush/v2/gAAAAABk",
        "https://web.push.apple.com/QGuQyavXutnMH",
        "https://wns2-par02p.notify.windows.com/w/?token=BQYAAAD%2bx",
        "https://fcm.googleapis.com:443/fcm/send/x",
    ],
)
def test_what_browsers_give_is_allowed(endpoint: str) -> None:
    assert refusal(endpoint, {}) == ""


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://fcm.googleapis.com/x", NO_ADDRESS),
        ("https://fcm.googleapis.com", NO_ADDRESS),
        ("https://user@fcm.googleapis.com/x", NO_ADDRESS),
        ("https://fcm.googleapis.com@evil.example/x", NO_ADDRESS),
        ("https://fcm.googleapis.com\\@evil.example/x", NO_ADDRESS),
        ("https://fcm.googleapis.com/x#y", NO_ADDRESS),
        ("https://fcm.googleapis.com/x\n", NO_ADDRESS),
        ("https://fcm.googleapis.com/x y", NO_ADDRESS),
        ("https://\u24d5cm.googleapis.com/x", NO_ADDRESS),
        ("https://FCM.googleapis.com/x", NO_ADDRESS),
        ("https://[fd00::1]/x", NO_ADDRESS),
        ("https://[::ffff:127.0.0.1]/x", NO_ADDRESS),
        ("https://fcm.googleapis.com/" + "x" * MAX_LENGTH, NO_ADDRESS),
        ("https://127.0.0.1/x", NOT_ALLOWED),
        ("https://localhost/x", NOT_ALLOWED),
        ("https://[::1]/x", NOT_ALLOWED),
        ("https://127.1/x", NOT_PUBLIC),
        ("https://2130706433/x", NOT_PUBLIC),
        ("https://0x7f000001/x", NOT_PUBLIC),
        ("https://0x7f.0.0.1/x", NOT_PUBLIC),
        ("https://10.0.0.1/x", NOT_PUBLIC),
        ("https://169.254.169.254/latest/meta-data", NOT_PUBLIC),
        ("https://metadata.google.internal/x", NOT_PUBLIC),
        ("https://printer.local/x", NOT_PUBLIC),
        ("https://valkey/x", NOT_PUBLIC),
        ("https://fcm.googleapis.com./x", NOT_PUBLIC),
        ("https://a..example/x", NOT_PUBLIC),
        ("https://push.example/x", NOT_ALLOWED),
        ("https://fcm.googleapis.com.evil.example/x", NOT_ALLOWED),
        ("https://evil-push.apple.com.example/x", NOT_ALLOWED),
        ("https://evilpush.apple.com/x", NOT_ALLOWED),
        ("https://push.apple.com/x", NOT_ALLOWED),
        ("https://fcm.googleapis.com:8443/x", NOT_ALLOWED),
        ("https://fcm.googleapis.com:0/x", NOT_ALLOWED),
        ("https://fcm.googleapis.com:99999/x", NOT_ALLOWED),
    ],
)
def test_nothing_else_is(endpoint: str, why: str) -> None:
    assert refusal(endpoint, {}) == why


def test_hosts_may_be_named() -> None:
    options = {"hosts": "push.example, other.example:8443,*.wild.example"}
    for endpoint in ("https://push.example/x", "https://other.example:8443/x", "https://a.b.wild.example/x"):
        assert refusal(endpoint, options) == "", endpoint
    for endpoint in (
        "https://fcm.googleapis.com/x",  # instead of the known ones
        "https://push.example:8443/x",
        "https://other.example/x",
        "https://a.push.example/x",
        "https://wild.example/x",
        "https://127.0.0.1/x",
    ):
        assert refusal(endpoint, options) == NOT_ALLOWED, endpoint


def test_any_public_name_and_still_no_address() -> None:
    options = {"hosts": "*"}
    assert refusal("https://push.example/x", options) == ""
    for endpoint in (
        "https://10.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://0x7f.0x1/x",
        "https://db.internal/x",
    ):
        assert refusal(endpoint, options) == NOT_PUBLIC, endpoint
    assert refusal("https://localhost/x", options) == NOT_ALLOWED


def test_this_machine_only_where_a_setting_says_so() -> None:
    for host in ("localhost", "127.0.0.1", "[::1]"):
        endpoint = f"https://{host}:4443/x"
        assert refusal(endpoint, {"loopback": "0"}) == NOT_ALLOWED
        assert refusal(endpoint, {"loopback": "1"}) == ""
    assert refusal("https://10.0.0.1:4443/x", {"loopback": "1"}) == NOT_PUBLIC
    assert refusal("https://fcm.googleapis.com/x", {"loopback": "1"}) == ""
