"""Which pages may use a bucket: moto knows the shape of the rules and keeps them, no server here follows them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from media.management.commands import media_cors
from media.storage import Storage
from media.storage.local import Local
from media.storage.s3 import S3
from tests.media.storage.conftest import Place
from tests.media.storage.test_lifecycle import amazon, aws  # noqa: F401 - a fixture

ORIGINS = ["https://chat.example", "https://web.example"]


def command(monkeypatch: pytest.MonkeyPatch, storage: Storage, *arguments: str) -> str:
    monkeypatch.setattr(media_cors, "storage", lambda: storage)
    out = io.StringIO()
    call_command("media_cors", *arguments, stdout=out)
    return out.getvalue()


def test_pages_may_put_parts_and_read_their_names(
    aws: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    settings.WEB_ORIGINS = ORIGINS
    storage = amazon()
    assert isinstance(storage, S3)
    assert storage.cors() == []
    own = {"ID": "reports", "AllowedOrigins": ["https://bi.example"], "AllowedMethods": ["GET"]}
    storage.put_cors([own])
    for _ in range(2):
        assert command(monkeypatch, storage, "--put") == "1 rules put, 1 of others left as they were\n"
    found = {rule["ID"]: rule for rule in aws.get_bucket_cors(Bucket="media")["CORSRules"]}
    assert set(found) == {"reports", "whatsapp-web"}
    rule = found["whatsapp-web"]
    assert rule["AllowedOrigins"] == ORIGINS
    assert set(rule["AllowedMethods"]) == {"GET", "HEAD", "PUT"}
    assert "ETag" in rule["ExposeHeaders"]
    assert json.loads(command(monkeypatch, storage))["CORSRules"] == [rule]


def test_no_page_may_where_none_is_named(aws: Any, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:  # noqa: F811
    settings.WEB_ORIGINS = []
    storage = amazon()
    assert json.loads(command(monkeypatch, storage)) == {"CORSRules": []}
    with pytest.raises(CommandError, match="WEB_ORIGINS"):
        command(monkeypatch, storage, "--put")


def test_a_folder_and_a_server_without_rules_say_so(
    place: Place, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.WEB_ORIGINS = ORIGINS
    said = "no bucket" if isinstance(place.storage, Local) else "did not take it"
    with pytest.raises(CommandError, match=said):
        command(monkeypatch, place.storage, "--put")
