"""What a system has of an upload, asked for as its owner does. For tests of clients that block."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.gateway.phone import Phone, Runs, couple
from tests.support import plain
from tests.support.patience import PATIENCE


def someone(system: Runs) -> tuple[Phone, str]:
    """Somebody who uploads, and a conversation of theirs."""
    with ThreadPoolExecutor(1) as pool:  # a browser of this thread has a loop that runs
        ann, _, conversation = pool.submit(asyncio.run, couple(system)).result()
    return ann, conversation


def asked(phone: Phone, method: str, path: str) -> httpx.Response:
    """``path`` may be a whole address."""
    headers = {"Authorization": f"Bearer {phone.token}", "Tus-Resumable": "1.0.0"}
    with plain.Client(timeout=60, base_url=phone.system.http, headers=headers) as client:
        return client.request(method, path)


def offset(phone: Phone, url: str) -> int:
    answer = asked(phone, "HEAD", url)
    assert answer.status_code == 200, answer.status_code
    return int(answer.headers["Upload-Offset"])


def reached(phone: Phone, url: str, size: int) -> int:
    """Wait until so many bytes of an upload are safe; how many there are."""
    deadline = time.monotonic() + PATIENCE
    while (known := offset(phone, url)) < size:
        assert time.monotonic() < deadline, known
        time.sleep(0.02)
    return known


def fetched(phone: Phone, url: str) -> bytes:
    """The file of an upload that has all its bytes, once the work on it is done."""
    path = f"/media/{url.rpartition('/')[2]}"
    deadline = time.monotonic() + PATIENCE
    while (body := asked(phone, "GET", path).json())["state"] != "ready":
        assert body["state"] in ("stored", "processing"), body
        assert time.monotonic() < deadline, body
        time.sleep(0.05)
    answer = asked(phone, "GET", f"{path}/content")
    assert answer.status_code == 302, answer.text
    location = answer.headers["Location"]
    if location.startswith("http"):  # a bucket's, which wants no token
        answer = httpx.get(location, trust_env=False, timeout=60)
    else:
        answer = asked(phone, "GET", location)
    assert answer.status_code == 200, answer.text
    return answer.content
