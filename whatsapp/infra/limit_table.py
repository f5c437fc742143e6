"""What each limit is: how it is counted, of whom, what happens when its counter cannot be reached and why, and between which
bounds one account or a class of accounts may have another value.

One row for each field of :class:`whatsapp.infra.limits.Limits`; a test fails when one is missing, or says what the code does
not do. The values are there, and the comments that say what each counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class How(StrEnum):
    """The algorithm."""

    WINDOW = "sliding window, PostgreSQL"  # ``accounts/limits.py``: each event is a row
    STEADY = "GCRA, PostgreSQL"  # ``accounts/rates.py``: one row, whatever the limit
    GCRA = "GCRA, memory"  # ``limits.Rate``
    BUCKET = "token bucket, memory"  # ``chats/admission.py``
    TRIES = "counter of a row"  # wrong codes, until the row is gone
    ROWS = "rows that there are"  # counted when one more is wanted
    NOW = "what is there now"  # of a process: sockets, bytes, subscriptions
    SET = "set in Valkey"  # ``delivery/forwards.py``
    SIZE = "size"  # of one thing that comes
    TIME = "time"  # how long something lasts, or how far apart things are
    PARAMETER = "parameter"  # of another limit


class Scope(StrEnum):
    """What has a counter of its own."""

    USER = "user"
    DEVICE = "device"
    SESSION = "session"  # one socket
    PHONE = "phone number"
    ADDRESS = "IP address"
    NETWORK = "network"  # its /24, or /48 of IPv6
    PREFIX = "prefix of numbers"
    PHONE_ADDRESS = "phone number and address"
    INSTALLATION = "installation"  # the ``deviceId`` that a client gives
    PAIR = "two users"
    CODE = "code"
    GROUP = "group"
    MESSAGE = "message"
    ACT = "act of forwarding"
    SESSION_CHAT = "session and conversation"
    USER_BLOCK = "user and number block"
    STAFF = "member of staff"
    STAFF_NAME = "name of staff"
    NAME_ADDRESS = "name and address"
    GATEWAY = "gateway"
    PROCESS = "process"
    LANE = "lane"
    THING = "each one"  # a frame, a file, a request, a deadline
    ALL = "everything"


class Fails(StrEnum):
    """What becomes of a request while its counter cannot be reached."""

    CLOSED = "closed"  # refused: ``unavailable``
    OPEN = "open"  # let through, or counted by one process alone
    NEVER = "cannot fail"  # there is nothing that could be away


@dataclass(frozen=True, slots=True)
class Guard:
    fails: Fails
    why: str


MONEY: Final = Guard(Fails.CLOSED, "Each costs money: what is not counted is paid for unseen.")
GUESSES: Final = Guard(
    Fails.CLOSED, "Each guess comes nearer to an account: one that is not counted is free."
)
PEOPLE: Final = Guard(
    Fails.CLOSED, "It keeps people from being found, written to or collected by those they do not know."
)
KEYS: Final = Guard(Fails.CLOSED, "One-time keys are few: who takes them uncounted leaves none for others.")
WORK: Final = Guard(
    Fails.CLOSED,
    "It is counted in the database that the work itself needs: without it there is no work either.",
)
STAFF: Final = Guard(Fails.CLOSED, "The admin is worth more than any account.")
MESSAGES: Final = Guard(
    Fails.OPEN,
    "Messages must not wait for a counter: each gateway counts in its memory, a restart forgets, and devices on several"
    " gateways reach the sum.",
)
HERD: Final = Guard(
    Fails.OPEN,
    "It must hold just when everything else is slow: each gateway counts in its memory, by itself.",
)
HONEST: Final = Guard(
    Fails.OPEN, "It rests on what the client declares and guards nothing worth stopping messages for."
)
HERE: Final = Guard(Fails.NEVER, "It is looked at in what has come, or in the memory of the process.")


@dataclass(frozen=True, slots=True)
class About:
    """One limit. ``least`` and ``most``: the bounds of an override, both or none; without them nobody has another value."""

    how: How
    scope: Scope
    guard: Guard
    least: int | None = None
    most: int | None = None

    @property
    def overridable(self) -> bool:
        return self.most is not None

    @property
    def rate(self) -> bool:
        """Whether who is over it is told when to come again."""
        return self.how in (How.WINDOW, How.STEADY, How.GCRA)


def _window(scope: Scope, guard: Guard, least: int | None = None, most: int | None = None) -> About:
    return About(How.WINDOW, scope, guard, least, most)


def _steady(scope: Scope, guard: Guard, least: int | None = None, most: int | None = None) -> About:
    return About(How.STEADY, scope, guard, least, most)


def _gcra(scope: Scope, guard: Guard = MESSAGES, least: int | None = None, most: int | None = None) -> About:
    return About(How.GCRA, scope, guard, least, most)


def _rows(scope: Scope, least: int | None = None, most: int | None = None) -> About:
    return About(How.ROWS, scope, WORK, least, most)


def _now(scope: Scope, least: int | None = None, most: int | None = None) -> About:
    return About(How.NOW, scope, HERE, least, most)


def _size(least: int | None = None, most: int | None = None) -> About:
    return About(How.SIZE, Scope.THING, HERE, least, most)


def _time(scope: Scope = Scope.THING) -> About:
    return About(How.TIME, scope, HERE)


def _parameter(scope: Scope, guard: Guard = HERE) -> About:
    return About(How.PARAMETER, scope, guard)


USER: Final = Scope.USER
GIB: Final = 2**30

TABLE: Final = MappingProxyType(
    {
        # accounts. Nobody's guesses and codes become cheaper by an override: there is none.
        "otp_sends_per_hour": _window(Scope.PHONE, MONEY),
        "registrations_per_ip_day": _window(Scope.ADDRESS, MONEY),
        "registrations_per_device_day": _window(Scope.INSTALLATION, MONEY),
        "accounts_per_number_day": _window(Scope.PHONE, PEOPLE),
        "registration_tries_per_ip_day": _window(Scope.ADDRESS, MONEY),
        "registration_tries_per_network_day": _window(Scope.NETWORK, MONEY),
        "work_bits": _parameter(Scope.THING),
        "work_ttl_ms": _time(),
        "sms_units_per_day": About(How.ROWS, Scope.ALL, MONEY),
        "sms_units_per_prefix_day": About(How.ROWS, Scope.PREFIX, MONEY),
        "sms_judged_from": _parameter(Scope.PREFIX, MONEY),
        "sms_slowed_percent": _parameter(Scope.PREFIX, MONEY),
        "sms_challenged_percent": _parameter(Scope.PREFIX, MONEY),
        "sms_blocked_percent": _parameter(Scope.PREFIX, MONEY),
        "sms_slowed_per_hour": _window(Scope.PREFIX, MONEY),
        "sms_block_ms": _time(Scope.PREFIX),
        "code_attempts": About(How.TRIES, Scope.CODE, GUESSES),
        "wrong_codes_per_day": _window(Scope.PHONE, GUESSES),
        "wrong_codes_per_asker_day": _window(Scope.PHONE_ADDRESS, GUESSES),
        "wrong_codes_by_strangers_day": _window(Scope.PHONE, GUESSES),
        "wrong_codes_per_address_day": _window(Scope.ADDRESS, GUESSES),
        "wrong_codes_by_device_day": _window(Scope.DEVICE, GUESSES),
        "code_ttl_ms": _time(Scope.CODE),
        # PINs and numbers
        "wrong_pins_per_day": _window(Scope.USER, GUESSES),
        "pin_checks_per_hour": _window(Scope.USER, GUESSES),
        "wrong_pins_free": _parameter(Scope.USER, GUESSES),
        "wrong_pin_wait_ms": _time(Scope.USER),
        "wrong_pin_wait_longest_ms": _time(Scope.USER),
        "registration_lock_days": _time(Scope.USER),
        "number_changes_per_day": _window(USER, GUESSES, 0, 100),
        "devices_per_user": _rows(USER, 1, 10),
        "links_per_address_hour": _window(Scope.ADDRESS, WORK),
        "link_approvals_per_day": _window(USER, GUESSES, 0, 1_000),
        "link_ttl_ms": _time(),
        "link_pickup_ms": _time(),
        "recycled_after_days": _time(Scope.USER),
        "contacts_per_hour": _window(USER, PEOPLE, 0, 10_000),
        "contacts_per_day": _window(USER, PEOPLE, 0, 10_000),
        "contact_syncs_per_hour": _window(USER, PEOPLE, 0, 60),
        "contact_hashes_per_day": _window(USER, PEOPLE, 0, 1_000_000),
        "contacts_found_per_day": _window(USER, PEOPLE, 0, 10_000),
        "contacts_of_a_block_per_day": _window(Scope.USER_BLOCK, PEOPLE, 0, 10_000),
        # keys
        "key_uploads_per_hour": _steady(Scope.DEVICE, WORK, 1, 1_000),
        "prekeys_per_upload": _size(),
        "prekeys_stored": _rows(Scope.DEVICE),
        "prekeys_low": _parameter(Scope.DEVICE),
        "key_fetches_per_hour": _steady(USER, KEYS, 0, 100_000),
        "key_fetches_per_day": _steady(USER, KEYS, 0, 1_000_000),
        "prekeys_of_one_per_hour": _steady(Scope.PAIR, KEYS),
        "prekeys_of_one_per_day": _steady(Scope.PAIR, KEYS),
        "prekeys_given_per_hour": _steady(Scope.USER, KEYS),
        "prekeys_given_per_day": _steady(Scope.USER, KEYS),
        "identity_changes_per_day": _window(USER, PEOPLE, 0, 100),
        # groups
        "groups_per_hour": _window(USER, PEOPLE, 0, 10_000),
        "group_changes_per_hour": _window(USER, PEOPLE, 0, 100_000),
        "group_members": _rows(Scope.GROUP),
        "group_adds_at_once": _size(),
        "group_adds_per_day": _steady(USER, PEOPLE, 0, 1_000_000),
        "group_invites_per_day": _window(USER, PEOPLE, 0, 10_000),
        "group_invites": _rows(Scope.GROUP),
        "group_requests": _rows(Scope.GROUP),
        "group_asks_per_hour": _window(USER, PEOPLE, 0, 1_000),
        "group_request_notices": _size(),
        "group_icons_per_hour": _window(USER, WORK, 0, 1_000),
        # conversations
        "first_contacts_per_hour": _window(USER, PEOPLE, 0, 10_000),
        "first_contacts_per_day": _window(USER, PEOPLE, 0, 100_000),
        "conversation_changes_per_hour": _window(USER, WORK, 0, 20_000),
        "timer_changes_per_hour": _window(USER, PEOPLE, 0, 1_000),
        "pinned_conversations": _rows(USER, 0, 100),
        "draft_bytes": _size(),
        "drafts_bytes": _rows(USER),
        # what a user shows
        "profile_changes_per_hour": _window(USER, WORK, 0, 1_000),
        "photos_per_hour": _window(USER, WORK, 0, 1_000),
        # what is kept of a user, and given to it
        "consents_per_hour": _window(USER, WORK),
        "consents_listed": _size(),
        "export_every_ms": _time(USER),
        "export_kept_ms": _time(),
        "lawful_users": _size(),
        "lawful_range_ms": _time(),
        "lawful_events": _size(),
        "lawful_kept_ms": _time(),
        "export_files_bytes": _size(),
        # pictures
        "image_bytes": _size(),
        "image_pixels": _size(),
        "image_workers": _now(Scope.PROCESS),
        # media
        "media_bytes_per_hour": _steady(USER, MONEY, 0, 100 * GIB),
        "media_large_bytes": _parameter(Scope.THING),
        "media_large_bytes_per_day": _steady(USER, MONEY, 0, 1_000 * GIB),
        "media_photo_bytes": _size(),
        "media_photo_raw_bytes": _size(),
        "media_audio_bytes": _size(),
        "media_video_bytes": _size(),
        "media_document_bytes": _size(),
        "media_thumbnail_bytes": _size(),
        "media_open_uploads": _rows(USER, 0, 1_000),
        "media_uploads": _now(Scope.PROCESS),
        "media_uploads_of_one": _now(Scope.USER),
        "media_least_bytes": _parameter(Scope.THING),
        "media_part_bytes": _size(),
        "media_signed_part_bytes": _size(),
        "media_signed_ms": _time(),
        "media_upload_ms": _time(),
        "media_unused_ms": _time(),
        "media_busy_ms": _time(),
        # push notifications
        "push_targets_per_hour": _steady(Scope.DEVICE, WORK, 1, 1_000),
        "push_unacked_ms": _time(Scope.SESSION),
        "push_oldest_ms": _time(),
        "push_conversations": _size(),
        # what is done about abuse
        "appeals_per_address_hour": _window(Scope.ADDRESS, WORK),
        # reports
        "reports_per_hour": _window(Scope.USER, WORK, 0, 1_000),
        "reports_per_day": _window(Scope.USER, WORK, 0, 5_000),
        "report_messages": _size(),
        "report_bytes": _size(),
        # staff
        "staff_logins_per_name_and_address": _window(Scope.NAME_ADDRESS, STAFF),
        "staff_logins_per_name": _window(Scope.STAFF_NAME, STAFF),
        "staff_logins_per_address": _window(Scope.ADDRESS, STAFF),
        "staff_codes_per_quarter": _window(Scope.STAFF, STAFF),
        "staff_codes_per_day": _window(Scope.STAFF, STAFF),
        "staff_watchers": _now(Scope.GATEWAY),
        # sizes on the socket
        "frame_bytes": _size(),
        "content_bytes": _size(),
        "mentions": _size(),
        "have_per_sync": _size(),
        "reaction_bytes": _size(),
        "vote_bytes": _size(),
        # what may be done to a message
        "edit_window_ms": _time(Scope.MESSAGE),
        "delete_window_ms": _time(Scope.MESSAGE),
        "reactions_per_message": About(How.ROWS, Scope.MESSAGE, WORK),
        "forward_chats": About(How.SET, Scope.ACT, HONEST, 1, 100),
        "forwarded_many": _parameter(Scope.MESSAGE, HONEST),
        "forward_many_chats": About(How.SET, Scope.ACT, HONEST, 1, 100),
        # rates on the socket
        "messages_per_minute": _gcra(USER, MESSAGES, 1, 100_000),
        "frames_per_second": _gcra(Scope.SESSION, MESSAGES, 10, 10_000),
        "flood_warnings": _parameter(Scope.SESSION),
        "syncs_per_minute": _gcra(Scope.SESSION, MESSAGES, 1, 1_000),
        "typing_per_minute": _gcra(Scope.SESSION, MESSAGES, 0, 1_000),
        "typing_per_chat_10s": _gcra(Scope.SESSION_CHAT, MESSAGES, 0, 100),
        "typing_shown_per_second": _gcra(Scope.GROUP),
        "presence_per_minute": _gcra(Scope.SESSION, MESSAGES, 1, 1_000),
        "malformed_in_a_row": _now(Scope.SESSION),
        # counts
        "presence_subscriptions": _now(Scope.SESSION, 0, 5_000),
        "open_chats": _now(Scope.SESSION, 0, 100),
        "presence_group_members": _parameter(Scope.GROUP),
        "presence_counts_per_second": _parameter(Scope.GATEWAY),
        "pending_sends": _now(Scope.SESSION, 1, 5_000),
        "pending_sends_total": _now(Scope.GATEWAY),
        "connections": _now(Scope.GATEWAY),
        # herds
        "authentications_per_minute": About(How.BUCKET, Scope.GATEWAY, HERD),
        "authentications_burst": About(How.BUCKET, Scope.GATEWAY, HERD),
        "authentications_per_device": _gcra(Scope.DEVICE, HERD),
        "slot_least_ms": _time(Scope.GATEWAY),
        "slot_most_ms": _time(Scope.GATEWAY),
        "unauthenticated": _now(Scope.GATEWAY),
        "unauthenticated_per_address": _now(Scope.ADDRESS),
        "closing_sockets": _now(Scope.GATEWAY),
        # HTTP
        "http_connections": _now(Scope.GATEWAY),
        "http_connections_per_address": _now(Scope.ADDRESS),
        "http_requests": _now(Scope.GATEWAY),
        "http_requests_per_address": _now(Scope.ADDRESS),
        "http_head_bytes": _size(),
        "http_headers": _size(),
        "http_url_bytes": _size(),
        "http_head_ms": _time(),
        "http_body_ms": _time(),
        "http_body_least": _parameter(Scope.THING),
        "http_idle_ms": _time(),
        "http_unread_ms": _time(),
        # buffers and times
        "outbound_pause_bytes": _now(Scope.SESSION),
        "outbound_close_bytes": _now(Scope.SESSION),
        "slow_consumer_ms": _time(Scope.SESSION),
        "auth_ms": _time(Scope.SESSION),
        "ping_ms": _time(Scope.SESSION),
        "append_spacing_ms": _time(Scope.PROCESS),
        "receipts_spacing_ms": _time(Scope.PROCESS),
        "opening_spacing_ms": _time(Scope.PROCESS),
        "drain_events": _parameter(Scope.SESSION),
        "drain_wait_ms": _time(Scope.SESSION),
        "lane_entries": _now(Scope.LANE),
        "lane_bytes": _now(Scope.LANE),
        "lane_lag_ms": _time(Scope.LANE),
        "presence_ttl_s": _time(Scope.SESSION),
        "presence_refresh_ms": _time(Scope.PROCESS),
        "offline_debounce_ms": _time(Scope.USER),
        "session_check_ms": _time(Scope.SESSION),
        "last_seen_step_ms": _time(Scope.DEVICE),
        "last_seen_write_ms": _time(Scope.DEVICE),
        "retention_ms": _time(Scope.ALL),
    }
)
