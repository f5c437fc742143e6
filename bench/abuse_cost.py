"""``./dev bench abuse_cost``: what counting for abuse costs on the message path, in ns a message, and one account's write.

No server: ``accounts/abuse/counter.py`` with made-up sends. ``known``: to people who accepted the sender. ``strangers``: each
to another one who has not. ``everybody``: each by another sender, none of whom was seen before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
import uuid
from types import SimpleNamespace
from typing import Any

ROUNDS = 20_000


def _sending(sender: str, conversation: str, *, stranger: bool = False) -> Any:
    request = None
    if stranger:
        other = str(uuid.uuid4())
        request = SimpleNamespace(unaccepted=frozenset((other,)), current=frozenset((sender, other)))
    send = SimpleNamespace(sender=sender, conversation=conversation, answers=False)
    return SimpleNamespace(send=send, request=request, forward=None)


class _Hot:
    """Answers at once, as no server would: what is left is the gateway's own part."""

    async def run_each(self, commands: list[Any]) -> list[int]:
        return [0] * len(commands)


def _ns(counter: Any, sends: list[Any]) -> float:
    """In the quickest part of them: the others were interrupted."""
    noted, best = counter.noted, float("inf")
    for start in range(0, len(sends), 500):
        part = sends[start : start + 500]
        began = time.perf_counter()
        for sending in part:
            noted(sending)
        best = min(best, (time.perf_counter() - began) / len(part))
    return best * 1e9


async def _measure() -> dict[str, float]:
    from accounts.abuse.counter import Counter

    user, chats = str(uuid.uuid4()), [str(uuid.uuid4()) for _ in range(20)]
    cases = {
        "known": [_sending(user, chats[n % 20]) for n in range(ROUNDS)],
        "strangers": [_sending(user, str(uuid.uuid4()), stranger=True) for _ in range(ROUNDS)],
        "everybody": [_sending(str(uuid.uuid4()), chats[0]) for _ in range(ROUNDS)],
    }
    hot: Any = _Hot()
    found: dict[str, float] = {}
    for name, sends in cases.items():
        found[name] = round(min(_ns(Counter(hot), sends) for _ in range(7)))
    counter = Counter(hot)
    least = float("inf")
    for _ in range(20):
        heavy = [_sending(str(uuid.uuid4()), chats[n % 20]) for n in range(100)]
        for sending in heavy:
            for _ in range(10):
                counter.noted(sending)
        began = time.perf_counter()
        await counter.flush()
        least = min(least, (time.perf_counter() - began) / len(heavy) * 1e9)
    found["write of one account"] = round(least)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench abuse_cost", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp.settings")
    import django

    django.setup()
    found = asyncio.run(_measure())
    print("ns:   " + "   ".join(f"{name} {ns:.0f}" for name, ns in found.items()))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"ns": found}, file, indent=1)


if __name__ == "__main__":
    main()
