"""Telling moderators of something that this user was sent."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

from .codecs import Frame
from .errors import ClientError
from .franked import FrankedMessages

#: The server takes so many copies in one report.
MOST = 10
#: Of what messages said before they were edited a report has at most so much: characters of base64.
_EARLIER = 256 * 1024
#: Categories that the server knows, the gravest last.
CATEGORIES = (
    "other", "spam", "impersonation", "fraud", "harassment", "hate", "violence", "self_harm", "child_safety",
)  # fmt: skip

_FILE = re.compile(r"/media/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/content")


class Reporting(FrankedMessages):
    """The part of a :class:`Client` that reports."""

    async def report(
        self, conversation_id: str, category: str, *, kind: str = "message", message_ids: Sequence[str] = (), user_id: str = "",
        media_id: str = "", invite_code: str = "", note: str = "", block: bool = False, leave: bool = False,
        copies: Sequence[Frame] = (),
    ) -> str:  # fmt: skip
        """Report messages, a ``user``, a ``group`` or a ``media``; the report's id. ``category``: one of :data:`CATEGORIES`.

        The server gets this device's copies of the messages, as they read now and, where there is room, as they read before their
        sender edited them (:meth:`report_items`), with what proves them if they are franked, and ``copies``: answers of
        :meth:`report_item` that the program has kept. ``media_id``: of ``media``; left out, the file of
        the first of the messages that has one. Nobody who is reported is told. ``block`` and ``leave`` are done with it. Raises
        ValueError for more than :data:`MOST` messages or one that is not here, :class:`RestError` (:class:`NotFound` for what
        this user was not sent), :class:`Unreachable`: then it may have been stored, and the same call again does not store it
        twice.
        """
        if len(message_ids) + len(copies) > MOST:
            raise ValueError(f"a report has at most {MOST} messages")
        forms = [self.report_items(conversation_id, one) for one in message_ids]
        messages = [*_with_room(forms, MOST - len(copies) - len(forms)), *copies]
        if kind == "media" and not media_id:
            media_id = _first_file(messages)
        optional = {"userId": user_id, "mediaId": media_id, "inviteCode": invite_code, "note": note}
        body: dict[str, Any] = {
            "kind": kind, "category": category, "conversationId": conversation_id,
            "messages": messages,
            **{name: value for name, value in optional.items() if value},
            "block": block, "leave": leave,
        }  # fmt: skip
        answer = await self._writes.post("/reports", body)
        if answer["blocked"]:
            others = (str(one["senderId"]) for one in messages if one["senderId"] != self.session.user_id)
            blocked = user_id or next(others, "")
            if blocked:
                self._chats.block(blocked, True)
            else:  # whoever sent that file
                with contextlib.suppress(ClientError):
                    for one in await self.rest.items("/blocks"):
                        self._chats.block(str(one["userId"]), True)
        return str(answer["reportId"])


def _with_room(forms: Sequence[Sequence[Frame]], room: int) -> list[Frame]:
    """Of each message its last form, and of earlier ones the newest, as many as there is ``room`` for."""
    found: list[Frame] = []
    left = _EARLIER
    for some in forms:
        *earlier, last = some
        kept: list[Frame] = []
        for one in reversed(earlier):
            left -= len(one["content"])
            if room <= 0 or left < 0:
                break
            room -= 1
            kept.insert(0, one)
        found += [*kept, last]
    return found


def _first_file(messages: Sequence[Frame]) -> str:
    """The id of the first file that these carry. Raises ValueError when there is none."""
    for one in messages:
        if found := _FILE.fullmatch(str(one.get("mediaUrl") or "")):
            return found[1]
    raise ValueError("none of these messages has a file")
