"""Proof of work: what a server may ask for before it sends a code."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading

from .errors import CaptchaRequired, Forbidden

#: Zero bits that are looked for at most: some ten seconds of one processor. A server that asks for more gets nothing.
MOST_BITS = 23
_LOOK = 4_096  # tries between looks at whether anybody still waits


async def answer(error: Forbidden) -> str:
    """What answers the challenge of this refusal; the work is done in a thread and ends when nobody waits for it any more.
    Raises :class:`CaptchaRequired` for what only a person can answer, and ``error`` when it holds no challenge that is known."""
    details = error.details if isinstance(error.details, dict) else {}
    challenge = details.get("challenge")
    if not isinstance(challenge, dict):
        raise error
    if challenge.get("kind") == "captcha":
        raise CaptchaRequired(error, challenge) from None
    seed, bits = challenge.get("seed"), challenge.get("bits")
    known = challenge.get("kind") == "proof_of_work" and challenge.get("algorithm") == "sha256"
    if not known or not isinstance(seed, str) or type(bits) is not int or not 0 <= bits <= MOST_BITS:
        raise error
    left = threading.Event()
    try:
        return await asyncio.to_thread(solve, seed, bits, left)
    finally:
        left.set()


def solve(seed: str, bits: int, left: threading.Event) -> str:
    """``seed:nonce`` whose SHA-256 begins with so many zero bits; "" once ``left`` is set."""
    begun = hashlib.sha256(f"{seed}:".encode())
    most = 1 << (256 - bits)
    for number in itertools.count():
        digest = begun.copy()
        digest.update(b"%x" % number)
        if int.from_bytes(digest.digest(), "big") < most:
            return f"{seed}:{number:x}"
        if number % _LOOK == 0 and left.is_set():
            break
    return ""
