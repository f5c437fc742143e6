"""Icons in a bucket, over the S3 protocol (moto's server, which checks no signatures)."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages

from devtools import ports
from groups.models import Icon
from groups.tasks import drop_icons
from tests.groups.conftest import assert_problem, make, sign_in
from tests.groups.pictures import opened, picture, put, shown
from whatsapp.settings import storage

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "eu-north-1"}


@contextmanager
def server(port: int) -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the server does not come up"
                assert process.poll() is None
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


@pytest.mark.django_db(transaction=True)
def test_icons_live_in_a_bucket(monkeypatch: pytest.MonkeyPatch, settings: Any, clock: Any) -> None:
    """Put, read, replaced, taken away; the server gone in the middle, and what it still holds found when it is back."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    port = ports.choose()
    for name, value in {
        "S3_BUCKET": "chat",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "S3_REGION": KEYS["region_name"],
        "S3_ACCESS_KEY_ID": KEYS["aws_access_key_id"],
        "S3_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"],
        "S3_PREFIX": "files",
        "S3_ADDRESSING_STYLE": "path",
        "S3_TIMEOUT_MS": "2000",
    }.items():
        monkeypatch.setenv(name, value)
    settings.STORAGES = {**settings.STORAGES, "default": storage._default()}
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    with server(port) as url:
        client = boto3.client("s3", endpoint_url=url, **KEYS)
        where = {"LocationConstraint": KEYS["region_name"]}
        client.create_bucket(Bucket="chat", CreateBucketConfiguration=where)

        def keys() -> list[str]:
            return sorted(item["Key"] for item in client.list_objects_v2(Bucket="chat").get("Contents", []))

        assert put(ann, group, picture()).status_code == 200
        (icon,) = Icon.objects.filter(group_id=group)
        assert keys() == sorted(f"files/{name}" for name in icon.names.values())
        grants = client.get_object_acl(Bucket="chat", Key=keys()[0])["Grants"]
        assert not [grant for grant in grants if grant["Grantee"].get("URI")], "nothing is public"
        assert client.head_object(Bucket="chat", Key=keys()[0])["ContentType"] == "image/jpeg"
        assert opened(shown(bob, group, "thumb").content).size == (150, 150)
        assert put(ann, group, picture(colour="blue")).status_code == 200
        assert len(keys()) == 2
        assert not any(key.endswith(name) for key in keys() for name in icon.names.values())
    assert_problem(put(ann, group, picture()), "unavailable", 503)
    assert_problem(shown(bob, group), "unavailable", 503)
    assert ann.api.delete(f"/groups/{group}/icon").status_code == 204
    assert Icon.objects.filter(group_id=group).count() == 2, (
        "its files could not be deleted, the others perhaps"
    )
    with server(port) as url:
        client = boto3.client("s3", endpoint_url=url, **KEYS)
        client.create_bucket(Bucket="chat", CreateBucketConfiguration=where)  # its memory is gone with it
        clock(3_600_001)
        assert drop_icons() == 2
        assert not Icon.objects.filter(group_id=group).exists()


def test_a_bucket_is_described_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3_BUCKET", raising=False)
    assert storage._default()["BACKEND"].endswith("FileSystemStorage")
    monkeypatch.setenv("S3_BUCKET", "chat")
    found = storages.create_storage(storage._default())
    assert (found.bucket_name, found.default_acl, found.location) == ("chat", None, "")
    config = found.client_config
    assert (config.signature_version, config.connect_timeout, config.read_timeout) == ("s3v4", 3, 3)
    monkeypatch.setenv("S3_ACCESS_KEY_ID", "key")
    with pytest.raises(ImproperlyConfigured, match="belong together"):
        storage._default()
