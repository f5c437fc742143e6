"""What an operator is told of apps whose credentials are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks

from notifications.senders.interface import PushApp
from tests.notifications.fcm_app import at_google, options


def _warnings() -> list[CheckMessage]:
    return run_checks(tags=["notifications"], include_deployment_checks=True)


async def test_each_app_without_credentials_is_named(settings: Any, tmp_path: Path) -> None:
    async with at_google(tmp_path) as (google, ca_file):
        settings.PUSH_APPS = {
            "android": PushApp("android", "fcm", options(google, ca_file)),
            "android-dev": PushApp("android-dev", "fcm", {}),
            "ios": PushApp("ios", "apns", {"key_id": "ABC"}),
            "web": PushApp("web", "webpush", {"private_key": "no key"}),
        }
        found = _warnings()
    assert [each.id for each in found] == ["notifications.W001"] * 3
    assert "android-dev (fcm)" in found[0].msg
    assert "credentials" in found[0].msg
    assert "PUSH_ANDROID_DEV_" in (found[0].hint or "")
    assert "ios (apns)" in found[1].msg
    assert "web (webpush)" in found[2].msg
    assert "BadVapid" not in found[2].msg
    assert run_checks(tags=["notifications"]) == [], "a development system is not told again and again"


def test_who_sends_no_notifications_is_told_nothing(settings: Any) -> None:
    settings.PUSH_APPS = {}
    assert _warnings() == []


def test_no_piece_of_a_key_is_shown(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(app: PushApp) -> None:
        raise RuntimeError(app.options["credentials"])

    monkeypatch.setattr("notifications.senders.registry.make", fail)
    settings.PUSH_APPS = {"android": PushApp("android", "fcm", {"credentials": "BEGIN PRIVATE KEY"})}
    [warning] = _warnings()
    assert "BEGIN" not in f"{warning.msg} {warning.hint}"
    assert "RuntimeError" in warning.msg
