"""How long people's data is kept: rows of the table in ``whatsapp/infra/retention.py``."""

from __future__ import annotations

from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.guards.slots import SLOT_MS
from accounts.models import (
    Allowance,
    CarriedSanction,
    Case,
    Contact,
    DeviceLink,
    Erasure,
    Export,
    IdentityNews,
    InstallationBan,
    KeptAnswer,
    LawfulRequest,
    LeftNumber,
    LegalHold,
    LimitHit,
    LimitOverride,
    Photo,
    Prekey,
    RefreshToken,
    Report,
    RetentionDay,
    SmsEvent,
    SmsSlot,
    VerificationCode,
)
from accounts.services.holds import held
from whatsapp.infra import retention
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.retention import DAY_MS, HOUR_MS, Policy

#: How long a removed contact is told to devices that ask for changes. Who was away for longer reads the whole list.
REMOVED_KEPT_MS: Final = 90 * DAY_MS
#: How long an id of a prekey that was given out is known to be used, and news are kept for devices that are away.
USED_KEPT_MS: Final = 30 * DAY_MS
NEWS_KEPT_MS: Final = 30 * DAY_MS
#: How long a code that leads nowhere any more says ``gone``; then nobody knows it.
LINK_KEPT_MS: Final = HOUR_MS
#: Copies of messages that were reported, after the decision: an appeal may be about them.
EVIDENCE_KEPT_MS: Final = 90 * DAY_MS
#: That something was reported and decided, without what anybody wrote: who is reported again and again is seen.
CASE_KEPT_MS: Final = 365 * DAY_MS
#: What was kept for, and given to, courts and authorities.
RECORD_KEPT_MS: Final = 3 * CASE_KEPT_MS
#: How long it can be shown what the retention did.
DAYS_KEPT: Final = 400

_PRUNE: Final = "accounts-prune"


def unpurged(now: int) -> QuerySet[Case]:
    """Cases whose evidence has had its time, and keeps for no legal hold."""
    return Case.objects.filter(
        ~_held_case(), state="closed", purged_at=None, closed_at__lte=now - EVIDENCE_KEPT_MS
    )


def _held_report() -> Q:
    return Q(held("reporter")) | Q(held("reported"))


def _held_case() -> Q:
    """About somebody who is held, or with a report by or about such a one."""
    return Q(held("subject")) | Q(Exists(Report.objects.filter(_held_report(), case=OuterRef("pk"))))


POLICIES: Final = (
    Policy(
        "codes",
        "Hash of the code that proves a number, with the number",
        ("accounts.VerificationCode",),
        "who enters it shows that the number is theirs",
        "10 minutes (LIMITS.code_ttl_ms)",
        _PRUNE,
        lambda now: VerificationCode.objects.filter(expires_at__lte=now),
    ),
    Policy(
        "device_links",
        "A new device that asks to be linked: its name, hashes of its codes",
        ("accounts.DeviceLink",),
        "the primary device lets it in",
        "an hour after the code has ended",
        _PRUNE,
        lambda now: DeviceLink.objects.filter(expires_at__lte=now - LINK_KEPT_MS),
    ),
    Policy(
        "refresh_tokens",
        "Hashes of the tokens that renew a session",
        ("accounts.RefreshToken",),
        "a device stays signed in",
        "until the token ends",
        _PRUNE,
        lambda now: RefreshToken.objects.filter(expires_at__lte=now),
    ),
    Policy(
        "installation_bans",
        "Hash of an installation that may not register",
        ("accounts.InstallationBan",),
        "a ban holds for who begins anew",
        "until the ban ends",
        _PRUNE,
        lambda now: InstallationBan.objects.filter(until__lte=now),
    ),
    Policy(
        "limit_hits",
        "That something was done, under a keyed hash of who did it",
        ("accounts.LimitHit",),
        "limits that guard money and accounts are counted",
        "24 hours, the longest window",
        _PRUNE,
        lambda now: LimitHit.objects.filter(at__lte=now - DAY_MS),
    ),
    Policy(
        "sms_events",
        "That a code was sent to some number of a prefix, and whether it came back; no number",
        ("accounts.SmsEvent",),
        "fraud with paid messages is seen, and what they cost is bounded",
        "24 hours",
        _PRUNE,
        lambda now: SmsEvent.objects.filter(at__lte=now - DAY_MS),
    ),
    Policy(
        "sms_slots",
        "How many codes went to a prefix of numbers in five minutes, what they cost, how many came back",
        ("accounts.SmsSlot",),
        "the day's codes are summed without reading each",
        "24 hours",
        _PRUNE,
        lambda now: SmsSlot.objects.filter(slot__lt=(now - DAY_MS) // SLOT_MS),
    ),
    Policy(
        "allowances",
        "State of a rate, under a keyed hash of whose it is",
        ("accounts.Allowance",),
        "rates are counted",
        "until the rate is full again: at most a day",
        _PRUNE,
        lambda now: Allowance.objects.filter(tat__lte=now * 1000),
    ),
    Policy(
        "limit_overrides",
        "Other limits for one account, with who of the staff set them and why",
        ("accounts.LimitOverride",),
        "staff help one account, or hold it back",
        "until it ends, or while the account lives",
        _PRUNE,
        # Their end is told to sockets, by services/limit_overrides.py.
        overdue=lambda now: LimitOverride.objects.filter(until__lte=now)[: retention.MOST].count(),
    ),
    Policy(
        "removed_contacts",
        "That somebody was taken out of an address book",
        ("accounts.Contact",),
        "the owner's other devices learn of it",
        "90 days",
        _PRUNE,
        lambda now: Contact.objects.filter(removed=True, updated_at__lte=now - REMOVED_KEPT_MS),
    ),
    Policy(
        "kept_answers",
        "Sealed answers to requests that may be repeated",
        ("accounts.KeptAnswer",),
        "a request that is repeated is carried out once",
        "24 hours",
        _PRUNE,
        lambda now: KeptAnswer.objects.filter(created_at__lte=now - DAY_MS),
    ),
    Policy(
        "given_prekeys",
        "Which one-time keys were given out, without the keys",
        ("accounts.Prekey",),
        "nobody gets a key that somebody else got",
        "30 days after they were given",
        _PRUNE,
        lambda now: Prekey.objects.filter(given_at__lte=now - USED_KEPT_MS),
    ),
    Policy(
        "identity_news",
        "Who is to be told of whose new identity key",
        ("accounts.IdentityNews",),
        "people see that a key has changed",
        "30 days",
        _PRUNE,
        lambda now: IdentityNews.objects.filter(at__lte=now - NEWS_KEPT_MS),
    ),
    Policy(
        "unused_photos",
        "Photos that no account shows any more",
        ("accounts.Photo", "files.photos"),
        "what a crash or a storage that was away has left is found",
        "an hour after it was made",
        "accounts-drop-photos",
        lambda now: Photo.objects.filter(shown_by=None, created_at__lt=now - HOUR_MS),
    ),
    Policy(
        "evidence",
        "Copies of messages that somebody reported, and the words that they added; sealed",
        ("accounts.ReportedMessage",),
        "moderators decide, and an appeal can be looked at",
        "90 days after the case was closed; longer under a legal hold of a party",
        "accounts-prune",
        # The job empties them (services/evidence.py): of the messages their number stays, and what the franking said.
        overdue=lambda now: unpurged(now)[: retention.MOST].count(),
    ),
    Policy(
        "reports",
        "Who reported whom, when and for what",
        ("accounts.Report",),
        "patterns over months are seen",
        "a year after the case was closed",
        _PRUNE,
        # They lose their case when it goes: closed_cases comes first.
        lambda now: Report.objects.filter(~_held_report(), case=None, created_at__lte=now - CASE_KEPT_MS),
    ),
    Policy(
        "closed_cases",
        "What was decided about an account, a group or a file, and by whom",
        ("accounts.Case", "accounts.CaseTrigger"),
        "the next decision knows the earlier ones",
        "a year after it was closed",
        _PRUNE,
        lambda now: Case.objects.filter(~_held_case(), closed_at__lte=now - CASE_KEPT_MS),
    ),
    Policy(
        "sanctions",
        "What was done about an account, on what evidence, and appeals",
        ("accounts.Sanction",),
        "actions can be looked at and taken back",
        "while the account lives",
        "erasure",
    ),
    Policy(
        "carried_sanctions",
        "What an account was slowed down or limited for when it ended or left its number, sanctioned for by a rule within 30 "
        "days before, or sanctioned for afterwards, under a keyed hash of the number",
        ("accounts.CarriedSanction",),
        "nobody sheds a sanction, or the step of the ladder that comes next, by beginning anew",
        "until the sanction ends and is no step of the ladder any more (ABUSE_MEMORY_MS after it was imposed), or an account "
        "gets the number; 45 days at most (LIMITS.recycled_after_days)",
        _PRUNE,
        lambda now: CarriedSanction.objects.filter(kept_until__lte=now),
    ),
    Policy(
        "left_numbers",
        "Which numbers an account had before; encrypted",
        ("accounts.LeftNumber",),
        "nobody sheds a sanction by moving to another number and registering the one of before anew",
        "45 days (LIMITS.recycled_after_days), and no longer than the account",
        _PRUNE,
        lambda now: LeftNumber.objects.filter(left_at__lte=now - LIMITS.recycled_after_days * DAY_MS),
    ),
    Policy(
        "profile",
        "Number, name, about, photo, language, address book, blocks, privacy, PIN (hashed), devices, public keys",
        (
            "accounts.Account",
            "accounts.Device",
            "accounts.Block",
            "accounts.Contact",
            "accounts.Privacy",
            "accounts.Pin",
            "accounts.Identity",
            "accounts.DeviceKeys",
            "accounts.Prekey",
            "accounts.Photo",
        ),
        "the service is made of them",
        "while the account lives",
        "erasure",
    ),
    Policy(
        "erasures",
        "An account on its way out: encrypted identifiers until the last step, then a keyed hash",
        ("accounts.Erasure",),
        "every store is searched, a restored backup erased again, and what staff decide of it meanwhile holds for its number",
        "identifiers: 90 days at most; the hash: as long as a backup from before could be kept",
        "erasure",
        overdue=lambda now: (
            Erasure.objects.exclude(state__in=("done", "held"))
            .filter(due_at__lt=now)[: retention.MOST]
            .count()
        ),
        grace_ms=0,
    ),
    Policy(
        "exports",
        "An archive of everything that is held about a person, made for that person",
        ("accounts.Export", "files.exports"),
        "the person fetches it",
        "7 days; that there was one, 30 days more",
        "accounts-exports",
        lambda now: Export.objects.exclude(state="expired").filter(expires_at__lte=now),
    ),
    Policy(
        "retention_days",
        "How many rows each policy purged on a day",
        ("accounts.RetentionDay",),
        "it can be shown that the policies hold",
        f"{DAYS_KEPT} days",
        _PRUNE,
        lambda now: RetentionDay.objects.filter(day__lt=now // DAY_MS - DAYS_KEPT),
        grace_ms=2 * DAY_MS,
    ),
    Policy(
        "consents",
        "Which version of which document somebody agreed to, when, with which device, and when that was taken back",
        ("accounts.Consent",),
        "it can be shown what somebody agreed to",
        "while the account lives",
        "erasure",
    ),
    Policy(
        "legal_holds",
        "Whose data a court or an authority wants to be kept, by its reference; who of the staff placed and released it",
        ("accounts.LegalHold",),
        "nothing of it is deleted meanwhile",
        "while it is in force, and three years; a random id once the account is erased",
        _PRUNE,
        lambda now: LegalHold.objects.filter(released_at__lte=now - RECORD_KEPT_MS),
    ),
    Policy(
        "lawful_requests",
        "Which authority asked for whose metadata, on what basis, and which two of the staff let it go",
        ("accounts.LawfulRequest",),
        "it can be shown what was given to whom",
        "three years; of who was erased nothing",
        _PRUNE,
        lambda now: LawfulRequest.objects.filter(asked_at__lte=now - RECORD_KEPT_MS),
    ),
    Policy(
        "logs",
        "Lines of processes: ids of users, devices and conversations as hashes that hold for a month, never numbers, names or"
        " contents",
        ("files.logs",),
        "faults are found",
        "14 days",
        "operator: rotation where the logs are kept (docs/subsystems/observability.md)",
    ),
)


def register() -> None:
    retention.register(POLICIES)
    retention.impersonal("switches of staff for prefixes of numbers", "accounts.SmsPrefix")
