"""What was reported, as a moderator reads it: the messages in the order of their conversation, each once, whoever sent a copy.

Who reported is never told: reporters are numbered on each page anew. What a reporter's client made up is shown as forged.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from accounts import evidence as sealed
from accounts.models import Case, Report, ReportedMessage
from media.models import Media, Rendition, State

#: Reports whose messages one page shows, the newest first, and messages of them all.
REPORTS: Final = 50
MESSAGES: Final = 400
#: Characters of one message that a page shows.
SHOWN: Final = 8_000

Verdict = ReportedMessage.Verdict


@dataclass(frozen=True)
class Picture:
    """A file that a message or a report names. ``preview``: there is a small picture of it."""

    media: uuid.UUID
    kind: str
    encrypted: bool
    preview: bool
    state: str


@dataclass
class Message:
    """``text``: None when it was deleted or no key opens it. ``who``: ``accused`` or "Person 2". ``reports``: how many copies
    say the same."""

    id: uuid.UUID
    sent_at: int
    kind: str
    who: str
    accused: bool
    text: str | None
    cut: bool
    verdict: str
    reports: int = 1
    picture: Picture | None = None
    #: A later form of it is here as well.
    edited: bool = False


@dataclass
class Conversation:
    """Messages of one conversation, in its order."""

    id: uuid.UUID | None
    messages: list[Message] = field(default_factory=list)


@dataclass(frozen=True)
class Note:
    """What a reporter said besides. ``who``: "Reporter 3"."""

    who: str
    at: int
    category: str
    verdict: str
    text: str
    counts: bool


@dataclass(frozen=True)
class Evidence:
    conversations: list[Conversation]
    notes: list[Note]
    picture: Picture | None
    #: Where older reports begin; None when all are here.
    older: uuid.UUID | None

    @property
    def is_empty(self) -> bool:
        """Nobody who was shown this has seen anything."""
        return not self.notes and self.picture is None

    @property
    def verdicts(self) -> dict[str, int]:
        """How many messages there are of each verdict."""
        found = dict.fromkeys(Verdict.values, 0)
        for conversation in self.conversations:
            for message in conversation.messages:
                found[message.verdict] += 1
        return found


def of(case: Case, accused: uuid.UUID | None, *, before: uuid.UUID | None = None) -> Evidence:
    """A page of it: the newest :data:`REPORTS` reports, or those before one."""
    rows = Report.objects.filter(case=case).order_by("-created_at", "-pk")
    if before is not None and (last := Report.objects.filter(case=case, pk=before).first()) is not None:
        rows = rows.filter(created_at__lte=last.created_at).exclude(
            created_at=last.created_at, pk__gte=last.pk
        )
    reports = list(rows[: REPORTS + 1])
    older = reports[REPORTS - 1].pk if len(reports) > REPORTS else None
    reports = reports[:REPORTS]
    copies = list(
        ReportedMessage.objects.filter(report__in=reports).order_by("sent_at", "report_id", "position")[
            :MESSAGES
        ]
    )
    wanted = {copy.media for copy in copies if copy.media}
    if case.subject_kind == Case.Subject.MEDIA:
        wanted.add(case.subject)
    pictures = pictures_of(wanted)
    where = {report.pk: report.conversation for report in reports}
    return Evidence(
        list(_conversations(copies, where, accused, pictures)),
        _notes(reports),
        pictures.get(case.subject) if case.subject_kind == Case.Subject.MEDIA else None,
        older,
    )


def _conversations(
    copies: Sequence[ReportedMessage],
    where: dict[uuid.UUID, uuid.UUID | None],
    accused: uuid.UUID | None,
    pictures: dict[uuid.UUID, Picture],
) -> Iterator[Conversation]:
    found: dict[uuid.UUID | None, Conversation] = {}
    seen: dict[tuple[uuid.UUID, str, str | None], Message] = {}
    people: dict[uuid.UUID, str] = {}
    last: dict[tuple[uuid.UUID, uuid.UUID], tuple[Message, uuid.UUID | None]] = {}
    for copy in copies:
        content = sealed.content_of(copy)
        text = None if content is None else content.decode(errors="replace")
        said = (copy.message_id, copy.verdict, text)
        if said in seen:  # another reporter's copy of the same
            seen[said].reports += 1
            continue
        people.setdefault(copy.sender, f"Person {len(people) + 1}")
        message = Message(
            id=copy.message_id,
            sent_at=copy.sent_at,
            kind=copy.kind,
            who="Reported" if copy.sender == accused else people[copy.sender],
            accused=copy.sender == accused,
            text=None if text is None else text[:SHOWN],
            cut=text is not None and len(text) > SHOWN,
            verdict=copy.verdict,
            picture=pictures.get(copy.media) if copy.media else None,
        )
        seen[said] = message
        conversation = where.get(copy.report_id)
        earlier, report = last.get((copy.message_id, copy.sender), (message, None))
        if copy.verdict != Verdict.FORGED:  # what a reporter's client made up is no form of it
            earlier.edited = earlier.sent_at < copy.sent_at or report == copy.report_id
            last[(copy.message_id, copy.sender)] = (message, copy.report_id)
        found.setdefault(conversation, Conversation(conversation)).messages.append(message)
    yield from found.values()


def _notes(reports: Iterable[Report]) -> list[Note]:
    numbers: dict[uuid.UUID | None, int] = {}
    made = []
    for report in reports:
        number = numbers.setdefault(report.reporter, len(numbers) + 1)
        made.append(
            Note(
                f"Reporter {number}",
                report.created_at,
                report.category,
                report.verdict,
                sealed.note_of(report),
                report.counts,
            )
        )
    return made


def pictures_of(wanted: Iterable[uuid.UUID]) -> dict[uuid.UUID, Picture]:
    """Of what is known; two queries."""
    found = list(Media.objects.filter(pk__in=set(wanted)))
    with_thumb = set(
        Rendition.objects.filter(media__in=found, name="thumb").values_list("media_id", flat=True)
    )
    return {
        media.pk: Picture(
            media.pk,
            media.kind or "file",
            media.encrypted,
            media.pk in with_thumb and not media.encrypted and media.state == State.READY,
            media.state,
        )
        for media in found
    }


def has_picture(case: Case, media_id: uuid.UUID) -> bool:
    """Whether this file is part of the evidence of this case."""
    if case.subject_kind == Case.Subject.MEDIA and case.subject == media_id:
        return True
    return ReportedMessage.objects.filter(report__case=case, media=media_id).exists()
