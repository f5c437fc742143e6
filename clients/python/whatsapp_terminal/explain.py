"""Errors of the library in words for people."""

from __future__ import annotations

from typing import Any

from whatsapp_client import CaptchaRequired, ClientError, DatabaseInUse, MediaRefused, RestError, Unreachable
from whatsapp_client.bans import describe

from . import text
from .clock import duration

_WORDS = {
    "not_found": "There is nobody with this number.",
    "forbidden": "The server does not allow this.",
    "unavailable": "The server is busy. Try again in a moment.",
    "internal": "The server made a mistake. Try again in a moment.",
    "upgrade_required": "This client is too old for the server.",
}

#: Why the server refuses a file: reasons of its ``media/tools/reasons.py``.
_REFUSED = {
    "empty": "The file is empty.",
    "not_allowed": "The server does not take files of this kind.",
    "mismatch": "The file is not what it is said to be.",
    "unreadable": "The file is broken, or not whole.",
    "animated": "The server does not take pictures that move.",
    "pixels": "The picture has more pixels than the server takes.",
    "too_long": "It lasts longer than the server takes.",
    "expands": "It unpacks to far more than it is.",
    "references": "It asks for other files or addresses.",
    "infected": "The server found something harmful in it.",
    "blocked": "The server does not pass on this content.",
    "resources": "It was too much work for the server.",
}


_LIMITED = {
    "slow_down": "You can send fewer messages a minute",
    "limit": "You cannot write to new people, make groups or invite",
}


def limited_news(data: dict[str, Any]) -> str:
    """What a notice ``limited`` says: that one may do less, until when and where to say that it is wrong; or that it is over."""
    if data.get("kind") is None:
        return "You can do everything again."
    words = _LIMITED.get(str(data["kind"]), "You can do less")
    return text.one_line(f"{words}{describe(data)}.")[:400]


def explain(error: ClientError) -> str:
    """One sentence or two, harmless to show."""
    if isinstance(error, Unreachable):
        return "The server does not answer. Is it running?"
    if isinstance(error, DatabaseInUse):
        return "This number is open in another terminal on this machine. Close it there first."
    if isinstance(error, MediaRefused):
        return (
            _REFUSED.get(error.reason) or f"The server refuses this file: {text.one_line(error.reason)[:60]}."
        )
    if isinstance(error, CaptchaRequired):
        return "The server wants to see a person first, which a terminal cannot show. Register on a telephone, and link this one."
    if isinstance(error, RestError):
        if error.code == "rate_limited" or error.status == 429:
            wait = duration(error.retry_after) if error.retry_after else "a while"
            return f"Too many tries. Try again in {wait}."
        if error.code == "banned":
            return text.one_line(f"This account is banned{describe(error.details, error.url)}.")[:400]
        said = text.one_line(error.message)[:200]
        return said or _WORDS.get(error.code) or f"The server says no: {text.one_line(error.code)[:60]}."
    return text.one_line(str(error))[:200]
