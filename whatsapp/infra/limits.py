"""Every limit of the system in one table, and the limiter that the gateway keeps in memory.

How each is counted, of whom, what happens when its counter cannot be reached and whether one account may have another value is
in ``limit_table.py``: a new limit gets a row there. ``WHATSAPP_LIMITS``, a JSON object, overrides any of them: development
and benches raise, a test of a limit lowers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields


class UnknownLimit(ValueError):
    """``WHATSAPP_LIMITS`` names a limit that does not exist or gives it no whole number."""


@dataclass(slots=True)
class Limits:
    # accounts, fail closed
    otp_sends_per_hour: int = 3
    registrations_per_ip_day: int = 10
    registrations_per_device_day: int = 5  # of the ``deviceId`` that the client gives
    accounts_per_number_day: int = 3  # one after the other: each begins without counts
    registration_tries_per_ip_day: int = 40  # refused ones too
    registration_tries_per_network_day: int = 1_000  # of a /24, or a /48
    work_bits: int = 18  # zero bits that a proof of work begins with: about 2^18 hashes, half a second
    work_ttl_ms: int = 300_000  # from the challenge to its answer
    sms_units_per_day: int = (
        5_000_000  # spent on codes, in the units of SMS_PRICES; without prices 100,000 messages
    )
    sms_units_per_prefix_day: int = 500_000
    sms_judged_from: int = 30  # codes to a prefix within six hours; fewer say nothing
    sms_slowed_percent: int = 50  # of the codes came back: fewer, and the prefix is slowed
    sms_challenged_percent: int = 30
    sms_blocked_percent: int = 10
    sms_slowed_per_hour: int = 60  # codes to such a prefix
    sms_block_ms: int = 4 * 3_600_000
    code_attempts: int = 5  # wrong ones a code, of who asked for it; as many of all others together
    wrong_codes_per_day: int = 50  # of a number, whoever gives them
    wrong_codes_per_asker_day: int = 10  # of a number, from one address that asked for the code
    wrong_codes_by_strangers_day: int = 10  # of a number, from addresses that did not
    wrong_codes_per_address_day: int = 100  # of whatever numbers
    wrong_codes_by_device_day: int = 10  # of a linked device that verifies again; not part of the others
    code_ttl_ms: int = 600_000
    # PINs and numbers, fail closed
    wrong_pins_per_day: int = (
        10  # of an account by those who have its number's code; a device has as many of its own
    )
    pin_checks_per_hour: int = 20  # right or wrong, counted like these: each costs a hash
    wrong_pins_free: int = 2  # after more of them in a day each has to wait
    wrong_pin_wait_ms: int = 60_000  # first; four times as long after each further one
    wrong_pin_wait_longest_ms: int = 4 * 3_600_000
    registration_lock_days: int = 7  # without any use; then a number with a PIN can be verified without it
    number_changes_per_day: int = 3  # of one account
    devices_per_user: int = 5
    links_per_address_hour: int = 60  # codes that new devices show
    link_approvals_per_day: int = 20  # of one account
    link_ttl_ms: int = 120_000  # from the code to its approval
    link_pickup_ms: int = 60_000  # from there until the new device has its session
    recycled_after_days: int = 45  # silent; who verifies the number anew is somebody else
    contacts_per_hour: int = 60
    contacts_per_day: int = 500
    contact_syncs_per_hour: int = 1
    contact_hashes_per_day: int = 60_000  # of address books; as many as six whole ones
    contacts_found_per_day: int = 2_000  # by such hashes, who were no contacts before
    contacts_of_a_block_per_day: int = 100  # found among numbers that differ in their last four digits only
    # keys for end-to-end encryption, fail closed
    key_uploads_per_hour: int = 60  # of one device
    prekeys_per_upload: int = 200  # of a kind
    prekeys_stored: int = 200  # unused ones of a kind, of a device
    prekeys_low: int = 20  # fewer of a kind are left: the device is told
    key_fetches_per_hour: int = 3_000  # by one user: the first message to a full group is one a member
    key_fetches_per_day: int = 10_000
    # above these a caller gets no one-time keys, only what is given again and again
    prekeys_of_one_per_hour: int = 10  # fetches by one user of one other
    prekeys_of_one_per_day: int = 30
    prekeys_given_per_hour: int = (
        150  # fetches of one user by all; below ``prekeys_stored``: some are left for the next hour
    )
    prekeys_given_per_day: int = (
        600  # above: also an alarm; a full group that greets a new member stays below
    )
    identity_changes_per_day: int = 5  # of one account; each is told to all who know it
    # groups; rates fail closed
    groups_per_hour: int = 10  # made by one user
    group_changes_per_hour: int = 1_000  # by one user; each is an event for every member
    group_members: int = 1_024
    group_adds_at_once: int = 100  # members added by one request
    group_adds_per_day: int = 10_000  # people whom one user puts into groups, those of new ones too
    group_invites_per_day: int = 200  # links made by one user
    group_invites: int = 20  # open ones of a group
    group_requests: int = 500  # to join, waiting in a group
    group_asks_per_hour: int = 60  # to be let in, by one user; each is told to admins
    group_request_notices: int = 50  # admins who are told of one request, the oldest ones
    group_icons_per_hour: int = 60  # set by one user; each costs 0.1 to 0.5 s of a processor
    # what a user sets for conversations; the rate fails closed
    first_contacts_per_hour: int = 100  # direct conversations that one user begins
    first_contacts_per_day: int = 500
    conversation_changes_per_hour: int = 2_000  # by one user; each is told to the user's other devices
    timer_changes_per_hour: int = 60  # by one user; each is an event for every member
    pinned_conversations: int = 5
    draft_bytes: int = 15_360  # of one draft, decoded; a multiple of 3, so that its base64 has a length
    drafts_bytes: int = 65_536  # of all drafts of a user
    # what a user shows of itself; fail closed
    profile_changes_per_hour: int = 60  # of name, about and language
    photos_per_hour: int = 20  # each costs 0.1 to 0.5 s of a processor
    # what is kept of a user, and given to it
    consents_per_hour: int = 60  # given and taken back; fails closed
    consents_listed: int = 500  # the newest, of a user
    export_every_ms: int = 24 * 3_600_000  # who asks for another one before gets the same
    export_kept_ms: int = 7 * 24 * 3_600_000  # then the file is gone
    lawful_users: int = 20  # in one request of an authority
    lawful_range_ms: int = 731 * 24 * 3_600_000  # the longest time that one asks for
    lawful_events: int = 200_000  # in one file
    lawful_kept_ms: int = 3 * 24 * 3_600_000  # then the file is gone, fetched or not
    export_files_bytes: int = 2 * 2**30  # of uploads in one archive; all others are listed
    # pictures
    image_bytes: int = 524_288  # of an uploaded icon or photo
    image_pixels: int = 25_000_000  # of what is decoded
    image_workers: int = 2  # at once, of one process
    # media; bytes fail closed
    media_bytes_per_hour: int = 50 * 2**20  # uploaded by one user, in files that are not large
    media_large_bytes: int = 16 * 2**20  # above: a large file, counted by the day instead
    media_large_bytes_per_day: int = 4 * 2**30  # so that a video of 2 GB can be sent
    media_photo_bytes: int = 16 * 2**20  # of an image that is sent as it is
    media_photo_raw_bytes: int = 64 * 2**20  # of one that is made smaller here
    media_audio_bytes: int = 100 * 2**20
    media_video_bytes: int = 2 * 2**30
    media_document_bytes: int = 2 * 2**30
    media_thumbnail_bytes: int = 64 * 2**10  # of an encrypted file, made and encrypted by its client
    media_open_uploads: int = 20  # of one user, begun and not ended
    media_uploads: int = 32  # that one process receives at once; each holds up to two parts in memory
    media_uploads_of_one: int = (
        8  # of these, of one user, or of one upload whose parts come under signed addresses
    )
    media_least_bytes: int = 16_384  # what even a smaller file counts as: each costs rows and an object
    media_part_bytes: int = 5 * 2**20  # of a multipart upload; S3 takes no smaller ones
    media_signed_part_bytes: int = (
        8 * 2**20
    )  # of what a client puts into the storage itself: a video of 2 GB in 256 parts
    media_signed_ms: int = 15 * 60_000  # an address to put one; begun in time, it may take longer
    media_upload_ms: int = 24 * 3_600_000  # an upload without an end is deleted
    media_unused_ms: int = 24 * 3_600_000  # so is what nobody was sent
    media_busy_ms: int = 24 * 3_600_000  # a file without room or verdict for so long is refused
    # push notifications
    push_targets_per_hour: int = 60  # set by one device; fails closed
    push_unacked_ms: int = (
        5_000  # a connected device that leaves something unacknowledged for so long is told
    )
    push_oldest_ms: int = 24 * 3_600_000  # what is older only counts on the badge
    push_conversations: int = 16  # that one device is told of at once; the others only count on the badge
    # what is done about abuse, fail closed
    appeals_per_address_hour: int = 30  # forms sent to pages of appeals, from one address
    # reports, fail closed
    reports_per_hour: int = 20  # by one user
    reports_per_day: int = 50
    report_messages: int = 10  # copies of one report
    report_bytes: int = 524_288  # of what they say, together
    # staff, fail closed
    staff_logins_per_name_and_address: int = 10  # in 15 minutes; of one name from one address
    staff_logins_per_name: int = 100  # in an hour, from anywhere
    staff_logins_per_address: int = 100  # in an hour, whatever the name
    staff_codes_per_quarter: int = 10  # second factors tried by one member of staff in 15 minutes
    staff_codes_per_day: int = 60
    staff_watchers: int = 20  # live pages of one gateway
    # sizes on the socket
    frame_bytes: int = 131_072
    content_bytes: int = 65_536
    mentions: int = 100  # of one message
    have_per_sync: int = 50_000  # over all continued frames of one sync
    reaction_bytes: int = 64  # of one emoji in UTF-8
    vote_bytes: int = 8_192  # of what somebody chooses of a poll
    # what may be done to a message, by the server's time
    edit_window_ms: int = 15 * 60_000  # by its sender
    delete_window_ms: int = 48 * 3_600_000  # for everyone, by its sender or an admin
    reactions_per_message: int = 20  # different ones
    forward_chats: int = 5  # conversations of one act of forwarding (``forwardId``)
    forwarded_many: int = 5  # a message that says it was forwarded so often
    forward_many_chats: int = 1  # goes to so many
    # rates on the socket; a burst of the same number is allowed at once
    messages_per_minute: int = 100
    frames_per_second: int = 100  # of any kind; over it: an error each, then a close
    flood_warnings: int = 20  # refused frames in a row before 4429
    syncs_per_minute: int = 30
    typing_per_minute: int = 120
    typing_per_chat_10s: int = 15  # of one socket in one conversation
    typing_shown_per_second: int = 5  # of one group, to all who have it open; the rest is dropped
    presence_per_minute: int = 60
    malformed_in_a_row: int = 3  # then 4400
    # counts
    presence_subscriptions: int = 500  # a session
    open_chats: int = 10  # a session
    presence_group_members: int = (
        32  # up to so many each member is shown in an open group; above: their number
    )
    presence_counts_per_second: int = 5_000  # members looked up for these numbers; above: they come later
    pending_sends: int = 500  # not yet acknowledged sends of one socket
    pending_sends_total: int = 20_000  # of one gateway; above: unavailable
    connections: int = 50_000  # of one gateway, or fewer if its open files allow fewer; above: 1013
    # herds: who may authenticate at one gateway, and when those beyond it come again (chats/admission.py)
    authentications_per_minute: int = 24_000  # 0: no limit
    authentications_burst: int = 100  # at once
    authentications_per_device: int = 30  # a minute, of one device
    slot_least_ms: int = 500  # the earliest slot
    slot_most_ms: int = 300_000  # the last one
    unauthenticated: int = (
        2_000  # sockets of one gateway that owe a token; above: the first of them makes room
    )
    unauthenticated_per_address: int = 200
    closing_sockets: int = 512  # closed by us, until their peers go; above: the first of them waits no longer
    # HTTP before a request is understood, and connections that are no sockets (yet); of one gateway
    http_connections: int = 8_192  # above: who has waited longest for its client is cut
    http_connections_per_address: int = 256  # above: 503; balancers (TRUSTED_PROXIES) are not counted
    http_requests: int = 256  # run at once; above: 503
    http_requests_per_address: int = 64  # above: 429
    http_head_bytes: int = 16_384  # request line and headers; above: 431
    http_headers: int = 100
    http_url_bytes: int = 4_096  # above: 414
    http_head_ms: int = 10_000  # until the end of the headers; above: 408
    http_body_ms: int = 30_000  # from there to the end of the body
    http_body_least: int = 65_536  # bytes of a file in that time, which then begins anew; fewer: 408
    http_idle_ms: int = 5_000  # between two requests; a balancer keeps idle connections for less
    http_unread_ms: int = 30_000  # an answer that is not read
    # buffers and times
    outbound_pause_bytes: int = 262_144  # above: stop pulling this device
    outbound_close_bytes: int = 4_194_304  # above: 4430
    slow_consumer_ms: int = 30_000  # paused for this long: 4430
    auth_ms: int = 5_000
    ping_ms: int = 30_000
    # batches of a busy process are so far apart, once eight came faster (``whatsapp/infra/spacing.py``); 0: as they come
    append_spacing_ms: int = 15  # each is a commit
    receipts_spacing_ms: int = 15
    opening_spacing_ms: int = 15  # of each question that an opening socket asks
    drain_events: int = 500  # longer backlogs go by the Celery task
    drain_wait_ms: int = 2_000
    lane_entries: int = 20_000  # of one lane; above: the gateway marks by itself
    lane_bytes: int = 33_554_432  # the same, of what the entries hold
    lane_lag_ms: int = 2_000  # above: senders to a group of the lane are told "queued"
    presence_ttl_s: int = 300
    presence_refresh_ms: int = 10_000  # states of those who are followed are read again
    offline_debounce_ms: int = 5_000
    session_check_ms: int = 60_000
    last_seen_step_ms: int = 3_600_000  # a device's ``lastSeenAt`` moves at most so often
    last_seen_write_ms: int = 30_000  # and is written so late
    retention_ms: int = 30 * 86_400_000


def _load() -> Limits:
    limits = Limits()
    known = {field.name for field in fields(Limits)}
    text = os.environ.get("WHATSAPP_LIMITS", "")
    try:
        overrides = json.loads(text) if text else {}
        if not isinstance(overrides, dict):
            raise ValueError("it is something else")
    except ValueError as error:
        raise UnknownLimit(f"WHATSAPP_LIMITS is not a JSON object: {error}") from None
    for name, value in overrides.items():
        if name not in known or type(value) is not int:
            raise UnknownLimit(f"WHATSAPP_LIMITS: {name!r} is no limit, or {value!r} no whole number")
        setattr(limits, name, value)
    return limits


LIMITS = _load()


class Rate:
    """GCRA (generic cell rate algorithm) for one subject: ``per_period`` events in ``period_ms``, all at once if it was idle.

    Unlike a window it forgets smoothly and never allows double bursts. One int of state.
    """

    __slots__ = ("tat",)

    def __init__(self) -> None:
        self.tat = 0.0  # theoretical arrival time, ms

    def take(self, now_ms: float, per_period: int, period_ms: int) -> float:
        """Take one. Returns 0 when allowed, otherwise ms until it would be. ``per_period`` 0 refuses always."""
        if per_period <= 0:
            return float(period_ms)
        step = period_ms / per_period
        tat = self.tat if self.tat > now_ms else now_ms
        over = tat + step - now_ms - period_ms
        if over > 1e-6:
            return over
        self.tat = tat + step
        return 0.0
