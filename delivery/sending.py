"""A send on its way into the log, with all that is looked at before it is appended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from delivery.envelopes import Seal
from delivery.session import Session
from delivery.store.values import Conversation, Send
from whatsapp.infra.limits import LIMITS, Limits


class Forward(NamedTuple):
    """One send of an act. ``times``: how often the message was forwarded before."""

    user: str
    act: str  # ``forwardId``
    conversation: str
    times: int
    limits: Limits = LIMITS  # of its sender

    @property
    def most(self) -> int:
        """To how many conversations the act may go."""
        limits = self.limits
        return limits.forward_many_chats if self.times >= limits.forwarded_many else limits.forward_chats

    @property
    def key(self) -> str:
        return f"{{{self.user}}}:forward:{self.act}"


class Sending:
    """A send that waits for its append; ``ref`` goes back on the answer."""

    __slots__ = (
        "arrived",
        "forward",
        "group",
        "media",
        "recipients",
        "ref",
        "reply_to",
        "request",
        "seal",
        "send",
        "session",
    )

    def __init__(
        self,
        session: Session,
        send: Send,
        ref: str,
        arrived: float,
        recipients: Sequence[str] | None,
        reply_to: str | None,
        seal: Seal | None,
        forward: Forward | None,
        media: str = "",
    ) -> None:
        self.session = session
        self.send = send
        self.ref = ref
        self.arrived = arrived  # loop time
        self.group = False
        self.request: Conversation | None = None  # in which somebody has not accepted the other user
        self.recipients = recipients  # whom the client believes to write to: checked, never trusted
        self.reply_to = reply_to  # the message that it answers
        self.seal = seal  # whom the client has encrypted it for
        self.media = media  # the file of ours that it carries
        self.forward = forward  # the act of forwarding that it is part of

    @property
    def key(self) -> tuple[str, str]:
        """What is sent under the same key keeps its order."""
        return self.send.device, self.send.conversation
