"""A member of the staff with a browser of its own: password, second factor, pages over HTTP on one connection."""

from __future__ import annotations

import base64
import hmac
import re
import time
from typing import Final, NamedTuple

import httpx

_KEY: Final = re.compile(r'id="staff-key">([A-Z2-7 ]+)<')
_TOKEN: Final = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def _code(key: bytes) -> str:
    """What an authenticator app shows now (RFC 6238, six digits)."""
    digest = hmac.digest(key, int(time.time() // 30).to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


class Answer(NamedTuple):
    status: int
    ms: float
    size: int


class Desk:
    """Raises ``RuntimeError`` when it is not let in."""

    def __init__(self, base: str, name: str, password: str) -> None:
        self._client = httpx.Client(base_url=base, timeout=120.0)
        self._post("/admin/login/", username=name, password=password)
        found = _KEY.search(self._client.get("/admin/enrol/").text)
        if found is None:
            raise RuntimeError(f"{name} cannot enrol a second factor")
        key = base64.b32decode(found[1].replace(" ", ""))
        self._post("/admin/enrol/", code=_code(key))
        if self._client.get("/admin/").status_code != 200:
            raise RuntimeError(f"{name} is not let in")

    def _post(self, path: str, **fields: str) -> httpx.Response:
        token = _TOKEN.search(self._client.get(path).text)
        if token is None:
            raise RuntimeError(f"{path} has no form")
        return self._client.post(path, data={**fields, "csrfmiddlewaretoken": token[1]})

    @property
    def cookies(self) -> dict[str, str]:
        return dict(self._client.cookies)

    def get(self, path: str) -> Answer:
        """A page, from the request to its last byte."""
        began = time.perf_counter()
        answer = self._client.get(path)
        return Answer(answer.status_code, (time.perf_counter() - began) * 1000, len(answer.content))

    def close(self) -> None:
        self._client.close()
