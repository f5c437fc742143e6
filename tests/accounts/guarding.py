"""Who asks for a code, and solves what they have to before they get one, for tests of the guards of registration."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import Any

from tests.accounts.conftest import Api, assert_problem

_numbers = itertools.count(random.SystemRandom().randrange(1_000_000, 5_000_000))


def mobile(begin: str = "+49151") -> str:
    """A valid German mobile number."""
    return f"{begin}{next(_numbers) + 10_000_000:08}"


def ask(phone: str, answer: str = "", address: str = "192.0.2.7", **fields: Any) -> Any:
    """Ask for a code; ``answer``: to the challenge."""
    body = {"phoneNumber": phone, **fields}
    if answer:
        body["challengeAnswer"] = answer
    return Api().post("/auth/register", body, REMOTE_ADDR=address)


def challenge_of(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = assert_problem(answer, "forbidden", 403)["details"]["challenge"]
    return found


def solve(challenge: dict[str, Any]) -> str:
    """The answer to a proof of work."""
    seed, bits = challenge["seed"], challenge["bits"]
    for number in itertools.count():
        answer = f"{seed}:{number}"
        if int(hashlib.sha256(answer.encode()).hexdigest(), 16) < 1 << (256 - bits):
            return answer
    raise AssertionError
