"""How long media live: one table, the bucket's rules and the sweep."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from django.core.management import CommandError, call_command
from moto import mock_aws

from media.management.commands import media_lifecycle
from media.storage import Storage, StorageUnavailable, lifecycle, names
from media.storage.lifecycle import POLICY, Policy, Swept, sweep
from media.storage.local import Local
from media.storage.s3 import S3
from tests.media.storage.conftest import Place
from tests.support.buckets import bucket
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

DAY = 86_400_000
TYPE = "image/webp"


def test_the_table_fits_the_retention_of_messages() -> None:
    assert lifecycle.check(POLICY, LIMITS.retention_ms) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"delete_after_ms": 91 * DAY}, "before the messages"),
        ({"cold_after_ms": 365 * DAY}, "before they are cold"),
        ({"incoming_most_ms": DAY // 2}, "before the sweep"),
        ({"uploads_after_ms": 8 * DAY}, "longer than what they become"),
    ],
)
def test_a_table_that_does_not_fit_says_why(wrong: dict[str, int], said: str) -> None:
    (sentence,) = [one for one in lifecycle.check(replace(POLICY, **wrong), 120 * DAY) if said in one]
    assert sentence.endswith(".")


def test_a_reference_renews_what_would_go_before_it() -> None:
    now, retention = 1_000 * DAY, 30 * DAY
    assert not lifecycle.needs_renewal(now, now, retention)
    assert not lifecycle.needs_renewal(now - 300 * DAY, now, retention)
    assert lifecycle.needs_renewal(now - 350 * DAY, now, retention)
    # Until when it does not, an object outlives the message: to the day to which S3 rounds.
    edge = next(age for age in range(366) if lifecycle.needs_renewal(now - age * DAY, now, retention))
    assert now - (edge - 1) * DAY + POLICY.delete_after_ms >= now + retention


# -- the sweep ------------------------------------------------------------------------------------------------------------------


def age(place: Place, key: str, days: float) -> None:
    """As if it had been written before: of files only; a bucket's clock is not ours."""
    assert isinstance(place.storage, Local)
    then = (now_ms() - days * DAY) / 1000
    os.utime(place.storage.folder / key, (then, then))


def test_forgotten_uploads_and_what_became_nothing_go(place: Place) -> None:
    storage = place.storage
    incoming = names.incoming(uuid.uuid4())
    waiting = names.incoming(uuid.uuid4())
    shown = names.media("a" * 64, "full", "webp", now_ms())
    for key in (incoming, waiting, shown, "groups/icon.jpg"):
        storage.put(key, b"x", TYPE)
    token = storage.begin(incoming, TYPE)
    storage.part(incoming, token, 1, b"part")
    assert sweep(storage, now_ms()) == Swept()
    assert sweep(storage, now_ms() + DAY // 2) == Swept()
    found = sweep(storage, now_ms() + DAY + 60_000, waits={waiting}.__contains__)
    assert found == Swept(uploads=1, incoming=1)
    assert [entry.key for entry in storage.keys("")] == sorted([waiting, shown, "groups/icon.jpg"])
    assert not list(storage.open_uploads(2**50))
    assert sweep(storage, now_ms() + DAY + 60_000, waits={waiting}.__contains__) == Swept()


def test_an_upload_that_cannot_be_ended_holds_up_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = place.storage
    stays, goes, old = (names.incoming(uuid.uuid4()) for _ in range(3))
    storage.put(old, b"x", TYPE)
    for key in (stays, goes):
        storage.part(key, storage.begin(key, TYPE), 1, b"part")
    real = storage.abort

    def fails(key: str, token: str) -> None:
        if key == stays:
            raise StorageUnavailable
        real(key, token)

    monkeypatch.setattr(storage, "abort", fails)
    assert sweep(storage, now_ms() + DAY + 60_000) == Swept(uploads=1, incoming=1)
    assert [upload.key for upload in storage.open_uploads(2**50)] == [stays]


def test_media_go_after_their_time(place: Place) -> None:
    """The sweep's clock is moved a year on."""
    storage = place.storage
    keys = [names.media(digit * 64, "full", "webp", now_ms()) for digit in "abc"]
    for key in keys:
        storage.put(key, b"x", TYPE)
    assert sweep(storage, now_ms() + 364 * DAY) == Swept()
    assert sweep(storage, now_ms() + 366 * DAY, referred={keys[1]}.__contains__) == Swept(media=2, renewed=1)
    assert [entry.key for entry in storage.keys("")] == [keys[1]]


def test_what_is_needed_is_young_again_before_the_bucket_takes_it(place: Place) -> None:
    """The bucket's own rules know no messages: a month before its end an object that one may carry is written again."""
    storage, retention = place.storage, 30 * DAY
    needed, other = (names.media(digit * 64, "full", "webp", now_ms()) for digit in "ab")
    for key in (needed, other):
        storage.put(key, b"x", TYPE, {"user-id": "u1"}, "private")
    before = storage.describe(needed)
    assert (
        sweep(storage, now_ms() + 333 * DAY, referred={needed}.__contains__, retention_ms=retention)
        == Swept()
    )
    found = sweep(storage, now_ms() + 335 * DAY, referred={needed}.__contains__, retention_ms=retention)
    assert found == Swept(renewed=1)
    after = storage.describe(needed)
    assert after.modified_ms >= before.modified_ms
    assert (after.metadata, after.media_type, after.cache_control) == ({"user-id": "u1"}, TYPE, "private")
    assert storage.read(needed) == b"x"
    assert storage.exists(other), "its year is not over"


def test_what_was_renewed_is_left_alone(tmp_path: Any) -> None:
    place = Place("local", Local(tmp_path / "media"))
    key = names.media("a" * 64, "full", "webp", now_ms() - 350 * DAY)
    place.storage.put(key, b"x", TYPE)
    age(place, key, 350)

    def swept() -> Swept:
        return sweep(place.storage, now_ms(), referred={key}.__contains__, retention_ms=30 * DAY)

    assert swept() == Swept(renewed=1)
    assert swept() == Swept()


def test_what_was_renewed_stays_and_later_days_are_not_looked_at(tmp_path: Any) -> None:
    place = Place("local", Local(tmp_path / "media"))
    storage = place.storage
    renewed = names.media("a" * 64, "full", "webp", now_ms() - 400 * DAY)
    gone = names.media("b" * 64, "full", "webp", now_ms() - 400 * DAY)
    young = names.media("c" * 64, "full", "webp", now_ms() - 10 * DAY)
    for key, days in ((renewed, 400), (gone, 400), (young, 10)):
        storage.put(key, b"x", TYPE)
        age(place, key, days)
    storage.copy(renewed, renewed)
    seen: list[str] = []

    class Noting(Local):
        def keys(self, prefix: str = "", after: str = "") -> Iterator[Any]:
            for entry in super().keys(prefix, after):
                seen.append(entry.key)
                yield entry

    assert sweep(Noting(tmp_path / "media"), now_ms()) == Swept(media=1)
    assert sorted(entry.key for entry in storage.keys("")) == sorted([renewed, young])
    assert seen[-1] == young
    assert len(seen) == 3


# -- the bucket's rules: moto knows their shape, no server here follows them -------------------------------------------------


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
        client.create_bucket(Bucket="media")
        yield client


def amazon(**variables: str) -> Storage:
    return bucket(
        {
            "S3_BUCKET": "media",
            "S3_ENDPOINT_URL": "",
            "S3_REGION": "us-east-1",
            "S3_ACCESS_KEY_ID": "k",
            "S3_SECRET_ACCESS_KEY": "s",
            **variables,
        }
    )


def test_the_rules_are_what_s3_takes(aws: Any) -> None:
    rules = lifecycle.document("chat/")["Rules"]
    aws.put_bucket_lifecycle_configuration(Bucket="media", LifecycleConfiguration={"Rules": rules})
    found = {rule["ID"]: rule for rule in aws.get_bucket_lifecycle_configuration(Bucket="media")["Rules"]}
    assert set(found) == {"whatsapp-media", "whatsapp-incoming", "whatsapp-uploads"}
    media, incoming, uploads = (found[f"whatsapp-{name}"] for name in ("media", "incoming", "uploads"))
    assert media["Filter"] == {"Prefix": "chat/media/"}
    assert media["Transitions"] == [{"Days": 90, "StorageClass": "GLACIER_IR"}]
    assert media["Expiration"]["Days"] == 365
    assert (incoming["Filter"], incoming["Expiration"]["Days"]) == ({"Prefix": "chat/incoming/"}, 7)
    assert uploads["Filter"] == {"Prefix": "chat/"}
    assert uploads["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert all(rule["Status"] == "Enabled" for rule in found.values())


def test_days_are_rounded_up() -> None:
    rules = lifecycle.document("", Policy(delete_after_ms=365 * DAY + 1))["Rules"]
    assert rules[0]["Expiration"] == {"Days": 366}


def command(monkeypatch: pytest.MonkeyPatch, storage: Storage, *arguments: str) -> str:
    monkeypatch.setattr(media_lifecycle, "storage", lambda: storage)
    out = io.StringIO()
    call_command("media_lifecycle", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_prints_and_puts_them_and_leaves_those_of_others(
    aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = amazon(S3_PREFIX="chat")
    assert isinstance(storage, S3)
    assert json.loads(command(monkeypatch, storage)) == lifecycle.document("chat/")
    assert storage.rules() == []
    own = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    storage.put_rules([own])
    for _ in range(2):
        assert command(monkeypatch, storage, "--put") == "3 rules put, 1 of others left as they were\n"
    assert sorted(rule["ID"] for rule in storage.rules()) == [
        "logs", "whatsapp-incoming", "whatsapp-media", "whatsapp-uploads",
    ]  # fmt: skip


def test_the_command_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    folder = Local(tmp_path)
    assert json.loads(command(monkeypatch, folder)) == lifecycle.document()
    with pytest.raises(CommandError, match="no bucket"):
        command(monkeypatch, folder, "--put")
    monkeypatch.setattr(LIMITS, "retention_ms", 400 * DAY)
    with pytest.raises(CommandError, match="before the messages"):
        command(monkeypatch, folder)


def test_a_server_without_rules_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(place.storage, S3):
        with pytest.raises(CommandError, match="the sweep does the same"):
            command(monkeypatch, place.storage, "--put")


def test_the_bucket_encrypts_all_that_is_written(aws: Any) -> None:
    """Of the servers here moto alone knows encryption."""
    storage = amazon(S3_SSE="aws:kms", S3_SSE_KEY_ID="key-2026")
    token = storage.begin("media/a", TYPE)
    parts = [storage.part("media/a", token, 1, b"part")]
    assert storage.complete("media/a", token, parts) == storage.complete("media/a", token, parts) == 4
    storage.put("media/b", b"b", TYPE, {"user-id": "u1"})
    storage.copy("media/b", "media/c")
    for key in ("media/a", "media/b", "media/c"):
        head = aws.head_object(Bucket="media", Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "key-2026"), key
        assert head["Metadata"]["encryption-key-id"] == "key-2026"
    assert storage.describe("media/c").metadata["user-id"] == "u1"
