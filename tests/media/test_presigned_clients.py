"""Presigned uploads in a whole system, with clients as they come (requests, httpx, urllib), which know nothing of this server."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests

from tests.gateway.phone import Runs
from tests.media.storage.test_signed_parts import cut
from tests.media.stored import fetched, someone

pytestmark = pytest.mark.needs_system

MIB = 2**20
SIZE = 20 * MIB + 4_321

#: Puts parts with requests, and says the number of each.
_UPLOADER = """
import json, sys
import requests
told = json.load(sys.stdin)
with open(told["file"], "rb") as file:
    for part in told["parts"]:
        requests.put(part["url"], data=file.read(part["size"])).raise_for_status()
        print(part["number"], flush=True)
"""


def by_requests(url: str, data: bytes) -> str:
    answer = requests.put(url, data=data, timeout=60)
    answer.raise_for_status()
    return answer.headers["ETag"]


def by_httpx(url: str, data: bytes) -> str:
    return httpx.put(url, content=data, timeout=60).raise_for_status().headers["ETag"]


def by_urllib(url: str, data: bytes) -> str:
    # Without, it says that this is a form.
    asked = urllib.request.Request(url, data, {"Content-Type": "application/octet-stream"}, method="PUT")
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return str(answer.headers["ETag"])


CLIENTS = [by_requests, by_httpx, by_urllib]


class Sender:
    """Somebody with a file of 20 MB."""

    def __init__(self, system: Runs) -> None:
        self.phone, self.conversation = someone(system)
        self.data = random.Random(SIZE).randbytes(SIZE)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.phone.token}"}
        answer = requests.request(
            method, f"{self.phone.system.http}{path}", json=body, headers=headers, timeout=60
        )
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def begin(self) -> Any:
        body = {"fileType": "document", "conversationId": self.conversation, "size": SIZE, "encrypted": True}
        return self.ask("POST", "/media/presigned", body)

    def piece(self, part: Any) -> bytes:
        start = (part["number"] - 1) * 8 * MIB
        return self.data[start : start + part["size"]]

    def complete(self, upload: Any, etags: dict[int, str]) -> Any:
        parts = [{"number": number, "etag": etag} for number, etag in etags.items()]
        return self.ask("POST", f"/media/presigned/{upload['uploadId']}/complete", {"parts": parts})

    def sent_with(self, put: Callable[[str, bytes], str]) -> None:
        upload = self.begin()
        assert [part["size"] for part in upload["parts"]] == [8 * MIB, 8 * MIB, SIZE - 16 * MIB]
        etags = {part["number"]: put(part["url"], self.piece(part)) for part in upload["parts"]}
        media = self.complete(upload, etags)
        assert fetched(self.phone, media["mediaId"]) == self.data


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.parametrize("put", CLIENTS)
def test_a_file_onto_the_folder(stack: Runs, put: Callable[[str, bytes], str]) -> None:
    Sender(stack).sent_with(put)


@pytest.mark.needs_s3
def test_a_file_onto_the_bucket(own_stack: Callable[..., Any]) -> None:
    sender = Sender(own_stack(gateways=1, s3=True))
    for put in CLIENTS:
        sender.sent_with(put)


def test_a_killed_client_goes_on_with_what_is_missing(stack: Runs, tmp_path: Any) -> None:
    sender = Sender(stack)
    file = tmp_path / "file"
    file.write_bytes(sender.data)
    upload = sender.begin()
    child = subprocess.Popen(
        [sys.executable, "-c", _UPLOADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"file": str(file), "parts": upload["parts"]}))
        child.stdin.close()
        assert child.stdout.readline().strip() == "1"
        child.send_signal(signal.SIGKILL)
    # Another part breaks off in the middle.
    last = upload["parts"][2]
    cut(last["url"], last["size"], sender.piece(last)[: last["size"] // 2])
    page = sender.ask("GET", f"/media/presigned/{upload['uploadId']}")
    there = {part["number"]: part["etag"] for part in page["parts"] if part["etag"]}
    assert 1 in there, "it was told so"
    assert 3 not in there
    for part in page["parts"]:
        if part["number"] not in there:
            there[part["number"]] = by_requests(part["url"], sender.piece(part))
    media = sender.complete(upload, there)
    assert fetched(sender.phone, media["mediaId"]) == sender.data


def test_a_body_of_another_size_is_refused_while_it_comes(stack: Runs) -> None:
    """Through a gateway, which has not read it by then."""
    sender = Sender(stack)
    upload = sender.begin()
    url = upload["parts"][0]["url"]
    for size in (8 * MIB - 1, 8 * MIB + 1, 60 * MIB):
        assert requests.put(url, data=bytes(size), timeout=60).status_code == 403
    page = sender.ask("GET", f"/media/presigned/{upload['uploadId']}")
    assert [part["etag"] for part in page["parts"]] == [None] * 3
