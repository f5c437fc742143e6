"""Which senders an installation has, and how its apps are configured."""

from __future__ import annotations

import logging

import pytest
from django.core.exceptions import ImproperlyConfigured

from notifications.senders.interface import Outcome, PushApp, Target
from notifications.senders.registry import open_senders
from tests.notifications.dispatching import Recorder, push
from whatsapp.settings.push import read


class Opened(Recorder):
    @classmethod
    def from_options(cls, app: PushApp) -> Opened:
        if "key" not in app.options:
            raise ImproperlyConfigured("the key is -----BEGIN PRIVATE KEY-----")
        return cls()


async def test_an_app_that_cannot_be_used_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "notifications.senders.registry._CLASSES",
        dict.fromkeys(("apns", "fcm"), f"{__name__}.Opened"),
    )
    with caplog.at_level(logging.ERROR):
        senders = open_senders(
            {"ios": PushApp("ios", "apns", {"key": "k"}), "android": PushApp("android", "fcm", {})}
        )
    assert type(senders["ios"]).__name__ == "Opened"
    assert senders["android"].provider == "fcm"
    result = await senders["android"].send(Target("u", "d", "android", "t"), push())
    assert (result.outcome, result.of_app) == (Outcome.MISCONFIGURED, True)
    assert "android" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


def test_rate_and_concurrency_are_options_of_every_app() -> None:
    found = read(
        ["ios", "ios-dev"],
        {
            "PUSH_IOS_PROVIDER": "apns",
            "PUSH_IOS_RATE": "50",
            "PUSH_IOS_KEY_ID": "k",
            "PUSH_IOS_DEV_PROVIDER": "apns",
            "PUSH_IOS_DEV_CONCURRENCY": "4",
        },
    )
    assert found["ios"] == PushApp("ios", "apns", {"key_id": "k"}, rate=50, concurrency=100)
    assert found["ios-dev"] == PushApp("ios-dev", "apns", {}, rate=10_000, concurrency=4)


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1.5", "²", "10000000"])
def test_a_rate_is_a_number(wrong: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="PUSH_IOS_RATE"):
        read(["ios"], {"PUSH_IOS_PROVIDER": "apns", "PUSH_IOS_RATE": wrong})
