"""A client of the messaging server: ``async with Client(url, session) as client``. See ``docs/client.md``."""

from . import events
from .chats import Chat
from .client import Client, socket_url
from .codecs import JSON, Codec, by_name
from .connection import Connection
from .database import Database
from .duties import Timing
from .entry import Entry
from .errors import (
    ClientError,
    Closed,
    DatabaseBroken,
    DatabaseError,
    DatabaseInUse,
    Forbidden,
    Gone,
    LimitExceeded,
    NotFound,
    OutboxFull,
    RateLimited,
    RestError,
    SendFailed,
    Stopped,
    Unreachable,
)
from .flags import Flags
from .group_calls import FOR_EVER
from .groups import Group, GroupSettings, Invite, InvitePreview, JoinRequest, Member, MemberReceipt, Page
from .history import Conversation, History
from .outbox import Outbox
from .outgoing import Outgoing
from .rest import Rest
from .retry import Backoff
from .session import Session
from .signup import SmsFile, sign_up

__all__ = [
    "FOR_EVER",
    "JSON",
    "Backoff",
    "Chat",
    "Client",
    "ClientError",
    "Closed",
    "Codec",
    "Connection",
    "Conversation",
    "Database",
    "DatabaseBroken",
    "DatabaseError",
    "DatabaseInUse",
    "Entry",
    "Flags",
    "Forbidden",
    "Gone",
    "Group",
    "GroupSettings",
    "History",
    "Invite",
    "InvitePreview",
    "JoinRequest",
    "LimitExceeded",
    "Member",
    "MemberReceipt",
    "NotFound",
    "Outbox",
    "OutboxFull",
    "Outgoing",
    "Page",
    "RateLimited",
    "Rest",
    "RestError",
    "SendFailed",
    "Session",
    "SmsFile",
    "Stopped",
    "Timing",
    "Unreachable",
    "by_name",
    "events",
    "sign_up",
    "socket_url",
]
