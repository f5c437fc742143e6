"""Polls and votes as clients write them that do not encrypt; ``docs/wire.md`` says what is agreed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MIN_OPTIONS, MAX_OPTIONS = 2, 12
MAX_QUESTION, MAX_OPTION = 255, 100


@dataclass(frozen=True, slots=True)
class Poll:
    """``votes``: who chose each option. ``mine``: what this user chose."""

    question: str
    options: list[str]
    multiple: bool
    votes: dict[str, list[str]]
    mine: list[str]


def poll_content(question: str, options: Iterable[str], multiple: bool) -> bytes:
    """The content of a message of the kind ``poll``. Raises ValueError for what is none."""
    poll = {"question": question, "options": list(options), "multiple": bool(multiple)}
    content = json.dumps(poll, ensure_ascii=False, separators=(",", ":")).encode()
    if _read(content) is None:
        raise ValueError(
            f"a poll has a question of at most {MAX_QUESTION} characters and {MIN_OPTIONS} to {MAX_OPTIONS} different "
            f"options of at most {MAX_OPTION}"
        )
    return content


def vote_content(poll: Poll, options: Iterable[str]) -> bytes:
    """The content of a vote; empty: taken back. Raises ValueError for what is no option, or too many."""
    chosen = list(dict.fromkeys(options))
    if any(option not in poll.options for option in chosen):
        raise ValueError("that is no option of this poll")
    if len(chosen) > 1 and not poll.multiple:
        raise ValueError("one option only")
    return (
        json.dumps({"options": chosen}, ensure_ascii=False, separators=(",", ":")).encode() if chosen else b""
    )


def tally(content: bytes, votes: Mapping[str, bytes], user_id: str) -> Poll | None:
    """A poll with its votes; None for what cannot be read. What names no option counts for nothing."""
    read = _read(content)
    if read is None:
        return None
    question, options, multiple = read
    found: dict[str, list[str]] = {option: [] for option in options}
    for user, vote in votes.items():
        for option in _chosen(vote, options, multiple):
            found[option].append(user)
    return Poll(
        question, options, multiple, found, [option for option in options if user_id in found[option]]
    )


def _read(content: bytes) -> tuple[str, list[str], bool] | None:
    poll = _json(content)
    question, options = poll.get("question"), poll.get("options")
    if (
        not isinstance(question, str)
        or not 1 <= len(question) <= MAX_QUESTION
        or not isinstance(options, list)
    ):
        return None
    if not MIN_OPTIONS <= len(options) <= MAX_OPTIONS:
        return None
    if not all(isinstance(option, str) and 1 <= len(option) <= MAX_OPTION for option in options):
        return None
    return (question, options, poll.get("multiple") is True) if len(set(options)) == len(options) else None


def _chosen(vote: bytes, options: list[str], multiple: bool) -> list[str]:
    named = _json(vote).get("options")
    names = named if isinstance(named, list) else []
    if not multiple:
        names = names[:1]
    return [option for option in options if option in names]


def _json(content: bytes) -> dict:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
