"""Every frame of the socket, once. This file is the field table that drives JSON, ``whatsapp.proto`` and the
protobuf codec.

How to read a line: ``seq_num: Annotated[Ordinal | None, 7] = None`` is JSON ``seqNum`` (optional), protobuf
``optional int64 seq_num = 7``. The bare integer in ``Annotated`` is the protobuf tag: it is never changed
and never used again after a field is removed (put it into ``RESERVED``). ``BODY`` is the tag in
``Frame.body``. Values of an enumeration are numbered from 1 in the order of its ``Literal``: append only.
After a change run ``python -m whatsapp.wire.generate``.

Ids are lower-case UUID text, times are ms since the epoch, durations are seconds unless the name ends in
``_ms``, numbers are not negative and below 2^53. ``ref`` is chosen by the client and returned on the answer;
it is keyword-only on every frame.
"""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

MAX_FRAME = 128 * 1024  #: bytes of one frame; a longer one closes the socket with 1009
MAX_CONTENT = 65_536  #: bytes of encryptedContent after base64
MAX_REF = 36
MAX_CONVERSATIONS = 500  #: entries of ``have`` and ``positions`` in one frame
MAX_SUBSCRIBED = 500  #: userIds of one presence_subscribe
MAX_OPEN_CHATS = (
    50  #: conversationIds of one presence_subscribe; how many may be open is a limit of the session
)
MAX_MEMBERS = 1_024  #: recipientIds and mentions
MAX_ENVELOPES = MAX_MEMBERS * 5
MAX_LIFETIME = 366 * 86_400  #: s that a message may ask to be kept for
MAX_BATCH_EVENTS = 100
MAX_PAYLOAD_DEPTH = 16  #: of the JSON in ``call``, which is passed on
MAX_BATCH_BYTES = 512 * 1024
MAX_SAFE_INTEGER = 2**53 - 1  #: what a JavaScript number holds exactly
MAX_INT32 = 2**31 - 1

UUID_PATTERN = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

# The text after Meta names the kind for whatsapp.wire.fields. max_length: "$" alone would let a final
# newline through.
Id = Annotated[str, Meta(pattern=UUID_PATTERN, max_length=36), "id"]
Int = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER), "int64"]
Ordinal = Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER), "int64"]
Small = Annotated[int, Meta(ge=0, le=MAX_INT32), "int32"]
Count = Annotated[int, Meta(ge=1, le=MAX_INT32), "int32"]
Lifetime = Annotated[int, Meta(ge=1, le=MAX_LIFETIME), "int32"]
Content = Annotated[bytes, Meta(max_length=MAX_CONTENT), "bytes"]
Tag = Annotated[bytes, Meta(max_length=256), "bytes"]
Token = Annotated[str, Meta(max_length=8_192), "string"]
Url = Annotated[str, Meta(max_length=2_048), "string"]
Short = Annotated[str, Meta(max_length=256), "string"]
Text = Annotated[str, "string"]
Flag = Annotated[bool, "bool"]
Json = Annotated[dict[str, Any], "json"]  # an object; JSON text in protobuf
Payload = Annotated[dict[str, Any] | Annotated[str, Meta(max_length=MAX_FRAME)], "json"]
Positions = Annotated[dict[Id, Int], Meta(max_length=MAX_CONVERSATIONS), "positions"]
UserIds = Annotated[list[Id], Meta(max_length=MAX_SUBSCRIBED), "ids"]
MemberIds = Annotated[list[Id], Meta(max_length=MAX_MEMBERS), "ids"]
ChatIds = Annotated[list[Id], Meta(max_length=MAX_OPEN_CHATS), "ids"]

MessageKind = Literal[
    "text", "image", "video", "document", "audio", "voice", "sticker", "location", "contact", "poll"
]
EnvelopeType = Literal["prekey", "message"]
Status = Literal["sent", "queued", "delivered", "read"]
EventKind = Literal[
    "edit", "delete", "reaction", "member_added", "member_removed", "role", "info", "timer", "vote"
]
DeleteScope = Literal["everyone"]
PresenceStatus = Literal["online", "offline", "away", "unknown"]
TypingKind = Literal["text", "audio"]
CallKind = Literal["offer", "answer", "ice", "ringing", "busy", "end"]
NoticeKind = Literal[
    "prekeys_low",
    "device_linked",
    "device_removed",
    "contact_deleted",
    "identity_changed",
    "flags",
    "slow_down",
    "join_request",
    "join_answer",
    "number_changed",
    "pin",
    "profile_changed",
    "device_idle",
    "media",
    "export",
    "limited",
]

#: name in whatsapp.proto -> its values
ENUMS: dict[str, Any] = {
    "MessageKind": MessageKind,
    "EnvelopeType": EnvelopeType,
    "Status": Status,
    "EventKind": EventKind,
    "DeleteScope": DeleteScope,
    "PresenceStatus": PresenceStatus,
    "TypingKind": TypingKind,
    "CallKind": CallKind,
    "NoticeKind": NoticeKind,
}


class Part(Struct, rename="camel", omit_defaults=True, gc=False):
    """A structure inside a frame."""

    RESERVED: ClassVar[tuple[int, ...]] = ()


class Frame(Struct, rename="camel", omit_defaults=True, gc=False, kw_only=True, tag_field="type"):
    """What all frames have."""

    BODY: ClassVar[int] = 0
    RESERVED: ClassVar[tuple[int, ...]] = ()

    ref: Annotated[str, Meta(max_length=MAX_REF)] = ""


# -- parts ---------------------------------------------------------------------------------------------------


class Resume(Part):
    """``have`` given: the backlog starts after ``ready`` without a ``sync``."""

    epoch: Annotated[Short, 1] = ""
    have: Annotated[Positions | None, 2] = None


class Limits(Part):
    frame: Annotated[Small, 1]
    content: Annotated[Small, 2]
    per_minute: Annotated[Small, 3]


class Envelope(Part):
    """The message key for one device, by its Signal session."""

    user_id: Annotated[Id, 1]
    device_id: Annotated[Id, 2]
    registration_id: Annotated[Small, 3]
    type: Annotated[EnvelopeType, 4]
    content: Annotated[Content, 5]


class Counts(Part):
    """Of the other members, for ``up_to``."""

    delivered: Annotated[Small, 1]
    read: Annotated[Small, 2]


# -- opening -------------------------------------------------------------------------------------------------


class Auth(Frame, tag="auth"):
    """Client: first frame, within 5 s, unless the upgrade carried ``Authorization``."""

    BODY = 16

    token: Annotated[Token, 1]
    resume: Annotated[Resume | None, 2] = None


class Ready(Frame, tag="ready"):
    """Server: the session is open. ``pending``: conversations with something new."""

    BODY = 17

    user_id: Annotated[Id, 1]
    device_id: Annotated[Id, 2]
    protocol: Annotated[Text, 3]
    server_time: Annotated[Int, 4]
    epoch: Annotated[Text, 5]
    sync_required: Annotated[Flag, 6]
    pending: Annotated[Small, 7]
    ping_ms: Annotated[Small, 8]
    limits: Annotated[Limits, 9]


# -- messages ------------------------------------------------------------------------------------------------


class SendMessage(Frame, tag="send_message", kw_only=True):
    """Client: answered by ``status_update`` sent or queued, or by ``error``. ``recipient_ids`` is checked,
    never trusted.

    ``seq_num`` counts this device's sends in this conversation from 1. ``expires_in`` is in seconds. ``envelopes``: for each
    other device with keys, of the recipients and of the sender; in a group with ``member_hash`` (SHA-256, see docs/wire.md, over
    whom the sender takes for members) for those who need one. ``franking``: 32 bytes that bind the sender to what is
    encrypted, see docs/subsystems/franking.md. ``franking_tag`` is taken and not kept: tags are the server's.
    """

    BODY = 10

    message_id: Annotated[Id, 1]
    conversation_id: Annotated[Id, 2]
    encrypted_content: Annotated[Content, 3]
    timestamp: Annotated[Int, 4]
    seq_num: Annotated[Ordinal | None, 5] = None
    media_url: Annotated[Url | None, 6] = None
    recipient_ids: Annotated[MemberIds | None, 7] = None
    kind: Annotated[MessageKind, 8] = "text"
    reply_to: Annotated[Id | None, 9] = None
    forward_id: Annotated[Id | None, 10] = None
    forward_count: Annotated[Small | None, 11] = None
    expires_in: Annotated[Lifetime | None, 12] = None
    mentions: Annotated[MemberIds | None, 13] = None
    envelopes: Annotated[Annotated[list[Envelope], Meta(max_length=MAX_ENVELOPES), "parts"] | None, 14] = None
    member_hash: Annotated[Short | None, 15] = None
    franking_tag: Annotated[Tag | None, 16] = None
    view_once: Annotated[Flag, 17] = False
    franking: Annotated[Tag | None, 18] = None


class StatusUpdate(Frame, tag="status_update"):
    """Both ways.

    Server: ``sent`` and ``queued`` answer a ``send_message`` (message_id, seq, timestamp, duplicate);
    ``delivered`` and ``read`` tell how far (up_to) another user is (user_id, timestamp), or how many are
    (counts).
    Client: ``delivered`` or ``read`` with either up_to or message_id; what only a server may say is cleared
    by the decoder.
    """

    BODY = 11

    conversation_id: Annotated[Id, 1]
    status: Annotated[Status, 2]
    message_id: Annotated[Id | None, 3] = None
    up_to: Annotated[Int | None, 4] = None
    seq: Annotated[Int | None, 5] = None
    duplicate: Annotated[Flag, 6] = False
    timestamp: Annotated[Int | None, 7] = None
    user_id: Annotated[Id | None, 8] = None
    counts: Annotated[Counts | None, 9] = None


class Message(Frame, tag="message", kw_only=True):
    """Server: one message of a log. ``encrypted_content`` is absent once it was deleted; ``envelope`` is
    this device's own; ``mentions`` are as the sender gave them, also of who is no member.

    ``expires_in``: seconds from server_timestamp on, after which its content is nowhere; a client removes its
    own. ``view_once``: a client shows it once.
    ``request``: it is from a stranger whom the reader has not accepted yet, see ``PATCH /conversations/{id}``.
    ``franking``: as the sender gave it, of an edited message with its edit; ``franking_tag``: that it came with this message, for
    a report. The server alone can check it."""

    BODY = 12

    message_id: Annotated[Id, 1]
    conversation_id: Annotated[Id, 2]
    sender_id: Annotated[Id, 3]
    sender_device_id: Annotated[Id, 4]
    seq: Annotated[Int, 5]
    seq_num: Annotated[Ordinal | None, 6] = None
    encrypted_content: Annotated[Content | None, 7] = None
    timestamp: Annotated[Int, 8]
    server_timestamp: Annotated[Int, 9]
    kind: Annotated[MessageKind, 10]
    media_url: Annotated[Url | None, 11] = None
    envelope: Annotated[Envelope | None, 12] = None
    reply_to: Annotated[Id | None, 13] = None
    edited: Annotated[Flag, 14] = False
    deleted: Annotated[Flag, 15] = False
    forward_count: Annotated[Small | None, 16] = None
    mentions: Annotated[MemberIds | None, 17] = None
    expires_in: Annotated[Count | None, 18] = None
    view_once: Annotated[Flag, 19] = False
    request: Annotated[Flag, 20] = False
    franking_tag: Annotated[Tag | None, 23] = None
    franking: Annotated[Tag | None, 24] = None


class Ack(Frame, tag="ack"):
    """Client: everything up to seq is stored by this device (= delivered)."""

    BODY = 13

    positions: Annotated[Positions, 1]


class EditMessage(Frame, tag="edit_message", kw_only=True):
    """``franking`` is of the message as it reads after the edit."""

    BODY = 18

    message_id: Annotated[Id, 1]
    conversation_id: Annotated[Id, 2]
    target_id: Annotated[Id, 3]
    encrypted_content: Annotated[Content | None, 4] = None
    seq_num: Annotated[Ordinal | None, 5] = None
    timestamp: Annotated[Int, 6]
    franking: Annotated[Tag | None, 7] = None


class DeleteMessage(Frame, tag="delete_message", kw_only=True):
    BODY = 19

    message_id: Annotated[Id, 1]
    conversation_id: Annotated[Id, 2]
    target_id: Annotated[Id, 3]
    scope: Annotated[DeleteScope, 4] = "everyone"
    seq_num: Annotated[Ordinal | None, 5] = None
    timestamp: Annotated[Int, 6]


class React(Frame, tag="react", kw_only=True):
    """An empty ``emoji`` removes the reaction."""

    BODY = 20

    message_id: Annotated[Id, 1]
    conversation_id: Annotated[Id, 2]
    target_id: Annotated[Id, 3]
    emoji: Annotated[Short, 4] = ""
    seq_num: Annotated[Ordinal | None, 5] = None
    timestamp: Annotated[Int, 6]


class Vote(Frame, tag="vote", kw_only=True):
    """What its sender chooses of a poll, in place of what was chosen before. Without ``encrypted_content`` the vote is
    taken back."""

    BODY = 30

    message_id: Annotated[Id, 1]
    conversation_id: Annotated[Id, 2]
    target_id: Annotated[Id, 3]
    encrypted_content: Annotated[Content | None, 4] = None
    seq_num: Annotated[Ordinal | None, 5] = None
    timestamp: Annotated[Int, 6]


class Event(Frame, tag="event", kw_only=True):
    """Server: anything in a log that is not a message. ``encrypted_content``: what an edit makes of its target, or what
    somebody votes, absent when the vote was taken back; ``data`` of a reaction is ``{emoji}``, empty when it was taken
    back, of a timer ``{seconds}``, null for none. ``franking`` and ``franking_tag`` are of an edit; the tag is for the target's
    id, the device ``actor_device_id`` and this event's time."""

    BODY = 15

    conversation_id: Annotated[Id, 1]
    seq: Annotated[Int, 2]
    kind: Annotated[EventKind, 3]
    actor_id: Annotated[Id, 4]
    target_id: Annotated[Id | None, 5] = None
    user_id: Annotated[Id | None, 6] = None
    data: Annotated[Json, 7]
    server_timestamp: Annotated[Int, 8]
    encrypted_content: Annotated[Content | None, 9] = None
    franking: Annotated[Tag | None, 10] = None
    franking_tag: Annotated[Tag | None, 11] = None
    actor_device_id: Annotated[Id | None, 12] = None


# -- reading the backlog -------------------------------------------------------------------------------------


class Sync(Frame, tag="sync"):
    """Client. Without ``have``: from this device's last acknowledged positions. ``more``: further ``have``
    follow in the next."""

    BODY = 21

    have: Annotated[Positions | None, 1] = None
    more: Annotated[Flag, 2] = False
    since: Annotated[Int | None, 3] = None
    limit: Annotated[Count, 4] = 100


class SyncOffline(Sync, tag="sync_offline"):
    """Alias of ``sync`` in JSON; the decoder returns a :class:`Sync`."""


Item = Message | Event


class SyncBatch(Frame, tag="sync_batch", kw_only=True):
    """Server: at most 100 events and 512 KiB. The next one follows the ``ack`` of this one."""

    BODY = 14

    conversation_id: Annotated[Id, 1]
    events: Annotated[list[Item], 2, "items"]
    through: Annotated[Int, 3]
    head: Annotated[Int, 4]
    remaining: Annotated[Int, 5]


class SyncComplete(Frame, tag="sync_complete"):
    BODY = 22

    epoch: Annotated[Text, 1]
    server_time: Annotated[Int, 2]


# -- never stored --------------------------------------------------------------------------------------------


class Presence(Frame, tag="presence"):
    """Both ways; ``unknown`` and all fields but ``status`` are the server's.

    ``conversation_id``: of a large group that this client has open, with ``online_count``, how many of its members are
    online; ``status`` is then online if anybody is.
    """

    BODY = 23

    status: Annotated[PresenceStatus, 1]
    user_id: Annotated[Id | None, 2] = None
    last_seen: Annotated[Int | None, 3] = None
    conversation_id: Annotated[Id | None, 4] = None
    online_count: Annotated[Small | None, 5] = None


class PresenceSubscribe(Frame, tag="presence_subscribe"):
    """Client: follow users (may be none), and say which chats are open, each for ``ttl`` from now. A chat named again is
    open for longer; one in ``closed_conversation_ids`` is no longer open."""

    BODY = 24

    user_ids: Annotated[UserIds, 1]
    ttl: Annotated[Count, 2] = 300
    conversation_ids: Annotated[ChatIds | None, 3] = None
    closed_conversation_ids: Annotated[ChatIds | None, 4] = None


class Typing(Frame, tag="typing"):
    """Both ways; ``user_id`` is the server's."""

    BODY = 25

    conversation_id: Annotated[Id, 1]
    active: Annotated[Flag, 2]
    kind: Annotated[TypingKind | None, 3] = None
    user_id: Annotated[Id | None, 4] = None


class Call(Frame, tag="call"):
    """Both ways: ``to_user_id`` from the client, ``from_user_id`` from the server. ``payload`` is passed on
    untouched."""

    BODY = 26

    call_id: Annotated[Id, 1]
    kind: Annotated[CallKind, 2]
    payload: Annotated[Payload | None, 3] = None
    to_user_id: Annotated[Id | None, 4] = None
    from_user_id: Annotated[Id | None, 5] = None


# -- the server about the session ----------------------------------------------------------------------------


class Notice(Frame, tag="notice"):
    BODY = 27

    kind: Annotated[NoticeKind, 1]
    data: Annotated[Json, 2]


class Reconnect(Frame, tag="reconnect"):
    """Come back after ``after_ms``; close 1012 or 1013 follows."""

    BODY = 28

    after_ms: Annotated[Small, 1]
    reason: Annotated[Text, 2]


class Error(Frame, tag="error"):
    """``code`` is one of :class:`whatsapp.wire.errors.Code`; ``message`` is for people."""

    BODY = 29

    code: Annotated[Text, 1]
    message: Annotated[Text, 2]
    retryable: Annotated[Flag, 3]
    message_id: Annotated[Id | None, 4] = None
    retry_after_ms: Annotated[Int | None, 5] = None
    details: Annotated[Json | None, 6] = None


CLIENT_FRAMES: tuple[type[Frame], ...] = (
    Auth, SendMessage, Ack, StatusUpdate, Sync, EditMessage, DeleteMessage, React, Vote,
    Presence, PresenceSubscribe, Typing, Call,
)  # fmt: skip
SERVER_FRAMES: tuple[type[Frame], ...] = (
    Ready, StatusUpdate, Message, SyncBatch, SyncComplete, Event, Presence, Typing, Call, Notice, Reconnect,
    Error,
)  # fmt: skip
#: Parts before their users, then frames in the order of their body tags.
PARTS: tuple[type[Part], ...] = (Resume, Limits, Envelope, Counts)
FRAMES: tuple[type[Frame], ...] = tuple(
    sorted({*CLIENT_FRAMES, *SERVER_FRAMES}, key=lambda frame: frame.BODY)
)
#: Body tags of removed frames.
RESERVED_BODIES: tuple[int, ...] = ()
