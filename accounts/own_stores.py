"""What the tables of accounts hold of a person. ``accounts/stores.py`` is the registry of all stores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from accounts import exported
from accounts.archives import ArchivesUnavailable
from accounts.models import (
    Account,
    Block,
    Case,
    Contact,
    Erasure,
    Identity,
    IdentityNews,
    LimitOverride,
    Photo,
    Prekey,
    Report,
    ReportedMessage,
    VerificationCode,
)
from accounts.searching import leftovers_in_tables, tables_of
from accounts.services import exports, holds, lawful, pictures
from accounts.stores import Held, Leftover, Part, Person

#: Rows of one statement.
BATCH: Final = 500
#: A photo's files could not be deleted: again in so many ms.
AGAIN_MS: Final = 60_000


class AccountStore:
    """Account, devices, keys, address books, sanctions and reports: everything in the tables of this app, and photos.

    What others have said of the person goes as well: their contact entry, which would lead to nobody; their block. A report that
    the person has made stays, without a name; of one about the person category and time stay, for the figures, and nothing else.
    """

    name = "accounts"
    #: Rows of all other apps point at the account.
    last = True

    def erase(self, person: Person, *, now: int) -> int:
        user = uuid.UUID(person.user_id)
        for photo in Photo.objects.filter(account=user, shown_by=None)[:BATCH]:
            if not pictures.discard(photo):
                return now + AGAIN_MS
        try:
            exports.forget(user)
        except ArchivesUnavailable:
            return now + AGAIN_MS
        if Photo.objects.filter(account=user).exists():
            Account.objects.filter(pk=user, retired_at__isnull=False).update(photo=None)
            return now
        for rows in (
            Contact.objects.filter(Q(user=user) | Q(owner=user)),
            Block.objects.filter(Q(user=user) | Q(owner=user)),
            IdentityNews.objects.filter(Q(user=user) | Q(about=user)),
            Prekey.objects.filter(device__user=user),
            *copies_of(user),
        ):
            if rows.filter(pk__in=list(rows.values_list("pk", flat=True)[:BATCH])).delete()[0]:
                return now  # there may be more
        self._forget_in_reports(user, now)
        if _parties_are_held(user):
            raise Held
        with transaction.atomic():
            # Whoever places a hold locks it, too.
            Account.objects.select_for_update().filter(pk=user).first()
            if holds.is_held(user):
                return now + AGAIN_MS
            if Report.objects.filter(Q(reporter=user) | Q(reported=user)).exists():
                return now  # one has come meanwhile
            # Only where it says nothing any more: who was told last.
            Identity.objects.filter(told_after=user, changed_at__lte=F("told_at")).update(told_after=None)
            holds.forget(user)
            lawful.forget(person.user_id)
            LimitOverride.objects.filter(scope=LimitOverride.Scope.USER, subject=person.user_id).delete()
            # One that is good still was sent to whoever registers the number now.
            VerificationCode.objects.filter(phone=person.phone, expires_at__lte=now).delete()
            Account.objects.filter(pk=user, retired_at__isnull=False).delete()
        return 0

    def _forget_in_reports(self, user: uuid.UUID, now: int) -> None:
        kept = holds.reports()
        of_held = Exists(kept.filter(case=OuterRef("pk")))
        with transaction.atomic():
            # Cases before their reports, as whoever empties evidence locks them.
            about = list(Case.objects.select_for_update().filter(~of_held, subject=user).order_by("pk"))
            mine = Report.objects.filter(~Q(holds.held("reporter")), ~Q(holds.held("reported")))
            mine.filter(reporter=user).update(reporter=None, note="")
            mine.filter(reported=user).update(reported=None, note="")
            for case in about:
                # Nobody's id: what was decided, and when, stays for the figures.
                case.subject = uuid.uuid4()
                case.outcome_reason = ""
                if case.state != Case.State.CLOSED:
                    case.state, case.outcome = Case.State.CLOSED, Case.Outcome.UNPROVEN
                    case.closed_by, case.closed_at = "automatic", now
                case.save()

    def export(self, person: Person) -> Iterator[Part]:
        return exported.parts(person)

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        tables = tables_of("accounts") - {Erasure._meta.db_table}
        return leftovers_in_tables(self.name, people, tables)


def copies_of(user: uuid.UUID) -> list[QuerySet[ReportedMessage]]:
    """What the user wrote, and what came with reports about the user, but for what a hold on another party to the report keeps.
    One after the other: of both at once PostgreSQL reads every report."""
    free = ReportedMessage.objects.filter(~Exists(holds.reports().filter(pk=OuterRef("report"))))
    return [free.filter(sender=user), free.filter(report__reported=user)]


def _parties_are_held(user: uuid.UUID) -> bool:
    """Whether a report that a hold keeps names the user still: as a party, or as who wrote something in it."""
    reports = holds.reports().filter(Q(reporter=user) | Q(reported=user))
    return reports.exists() or holds.reported_messages().filter(sender=user).exists()
