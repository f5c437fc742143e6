"""A client of the messaging server: ``async with Client(url, session) as client``. See ``docs/client.md``."""

from . import events, link
from .chats import Chat
from .client import Client, socket_url
from .codecs import JSON, Codec, by_name
from .connection import Connection
from .database import Database
from .duties import Timing
from .entry import Entry
from .errors import (
    CaptchaRequired,
    ClientError,
    Closed,
    DatabaseBroken,
    DatabaseError,
    DatabaseInUse,
    DeviceMismatch,
    Forbidden,
    Gone,
    LimitExceeded,
    MediaDamaged,
    MediaRefused,
    MemberMismatch,
    MessageGone,
    MessageNotFound,
    NotFound,
    NotFranked,
    OutboxFull,
    RateLimited,
    RestError,
    SendFailed,
    SendLimitExceeded,
    Stopped,
    TooLarge,
    Unreachable,
    WindowExpired,
)
from .flags import Flags
from .group_calls import FOR_EVER
from .groups import Group, GroupSettings, Invite, InvitePreview, JoinRequest, Member, MemberReceipt, Page
from .history import Conversation, History
from .known_people import Profile
from .media import Media, Unfinished, Uploaded
from .media_states import MediaState
from .members import member_hash
from .outbox import Outbox
from .outgoing import Outgoing
from .own_data import Consent, Consents
from .people import BroadcastList, Contact
from .polls import Poll
from .rest import Rest
from .retry import Backoff
from .sealing import Sealed
from .search import Found
from .session import Session
from .signup import SmsFile, sign_up
from .view import Shown

__all__ = [
    "FOR_EVER",
    "JSON",
    "Backoff",
    "BroadcastList",
    "CaptchaRequired",
    "Chat",
    "Client",
    "ClientError",
    "Closed",
    "Codec",
    "Connection",
    "Consent",
    "Consents",
    "Contact",
    "Conversation",
    "Database",
    "DatabaseBroken",
    "DatabaseError",
    "DatabaseInUse",
    "DeviceMismatch",
    "Entry",
    "Flags",
    "Forbidden",
    "Found",
    "Gone",
    "Group",
    "GroupSettings",
    "History",
    "Invite",
    "InvitePreview",
    "JoinRequest",
    "LimitExceeded",
    "Media",
    "MediaDamaged",
    "MediaRefused",
    "MediaState",
    "Member",
    "MemberMismatch",
    "MemberReceipt",
    "MessageGone",
    "MessageNotFound",
    "NotFound",
    "NotFranked",
    "Outbox",
    "OutboxFull",
    "Outgoing",
    "Page",
    "Poll",
    "Profile",
    "RateLimited",
    "Rest",
    "RestError",
    "Sealed",
    "SendFailed",
    "SendLimitExceeded",
    "Session",
    "Shown",
    "SmsFile",
    "Stopped",
    "Timing",
    "TooLarge",
    "Unfinished",
    "Unreachable",
    "Uploaded",
    "WindowExpired",
    "by_name",
    "events",
    "link",
    "member_hash",
    "sign_up",
    "socket_url",
]
