"""Telling moderators of something that this user was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .franked import FrankedMessages

#: The server takes so many copies in one report.
MOST = 10
#: Categories that the server knows, the gravest last.
CATEGORIES = (
    "other", "spam", "impersonation", "fraud", "harassment", "hate", "violence", "self_harm", "child_safety",
)  # fmt: skip


class Reporting(FrankedMessages):
    """The part of a :class:`Client` that reports."""

    async def report(
        self, conversation_id: str, category: str, *, kind: str = "message", message_ids: Sequence[str] = (), user_id: str = "",
        media_id: str = "", invite_code: str = "", note: str = "", block: bool = False, leave: bool = False,
    ) -> str:  # fmt: skip
        """Report messages, a ``user``, a ``group`` or a ``media``; the report's id. ``category``: one of :data:`CATEGORIES`.

        The server gets this device's copies of the messages, as they read now, with what proves them if they are franked.
        Nobody who is reported is told. ``block`` and ``leave`` are done with it. Raises ValueError for more than :data:`MOST`
        messages or one that is not here, :class:`RestError` (:class:`NotFound` for what this user was not sent),
        :class:`Unreachable`: then it may have been stored, and the same call again does not store it twice.
        """
        if len(message_ids) > MOST:
            raise ValueError(f"a report has at most {MOST} messages")
        messages = [self.report_item(conversation_id, one) for one in message_ids]
        optional = {"userId": user_id, "mediaId": media_id, "inviteCode": invite_code, "note": note}
        body: dict[str, Any] = {
            "kind": kind, "category": category, "conversationId": conversation_id,
            "messages": messages,
            **{name: value for name, value in optional.items() if value},
            "block": block, "leave": leave,
        }  # fmt: skip
        answer = await self._writes.post("/reports", body)
        if answer["blocked"]:
            others = [str(one["senderId"]) for one in messages if one["senderId"] != self.session.user_id]
            self._chats.block(user_id or others[0], True)
        return str(answer["reportId"])
