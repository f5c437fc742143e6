"""People who sign up over HTTP at a running development system."""

from __future__ import annotations

import json
import random
import re
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def request(method: str, url: str, body: Any = None, token: str = "") -> Any:
    """The JSON of a good answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


class Sms:
    """The development SMS file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def code(self, url: str, phone: str) -> str:
        """The code that is sent to this number."""
        request("POST", f"{url}/auth/register", {"phoneNumber": phone})
        lines = [json.loads(line) for line in self._path.read_text().splitlines()]
        texts = [line["body"] for line in lines if line["to"] == phone]
        found = re.search(r"[0-9]{6}", texts[-1])
        assert found is not None
        return found[0]


@dataclass
class SignedUp:
    """Somebody with one linked device."""

    url: str
    phone: str
    user_id: str
    device_id: str
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return request(method, f"{self.url}{path}", body, self.token)


def sign_up(url: str, sms: Sms) -> SignedUp:
    phone = f"+1555{random.SystemRandom().randrange(10**6, 10**7)}"
    body = {"phoneNumber": phone, "code": sms.code(url, phone), "deviceName": "phone"}
    found = request("POST", f"{url}/auth/verify", body)
    return SignedUp(url, phone, found["userId"], found["deviceId"], found["token"], found["refreshToken"])
