"""Reports and cases for the pages of moderation to show, made as the system makes them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from accounts import evidence
from accounts.models import Case, Report, ReportedMessage
from accounts.services import cases
from tests.accounts.conftest import Person, sign_in
from whatsapp.infra.clock import now_ms

#: What a reporter's copy says: for who works on the case, and for nobody else.
WORDS = "the words that were reported"


def report(
    accused: Person | uuid.UUID,
    category: str = "spam",
    *,
    by: Person | None = None,
    kind: str = "user",
    said: Sequence[tuple[str, str]] = ((WORDS, "verified"),),
    note: str = "",
    media: uuid.UUID | None = None,
    at: int | None = None,
) -> Case:
    """A report of a person, a group (its id) or a file (its id), with copies of what was said: (words, verdict). Its case."""
    now = now_ms() if at is None else at
    by = by or sign_in()
    user = uuid.UUID(accused.user_id) if isinstance(accused, Person) else None
    made = Report(
        kind=kind, category=category, reporter=by.user_id, reported=user, created_at=now,
        conversation=accused if kind == "group" else uuid.uuid4(), media=accused if kind == "media" else None,
    )  # fmt: skip
    made.note = evidence.seal_note(note, made.pk)
    verdicts = [verdict for _, verdict in said]
    made.verdict = next((name for name in ("forged", "unverifiable", "verified") if name in verdicts), "")
    made.save(force_insert=True)
    for position, (words, verdict) in enumerate(said):
        fields: dict[str, Any] = {"media": media if position == len(said) - 1 else None}
        ReportedMessage.objects.create(
            report=made, position=position, message_id=uuid.uuid4(), sender=user or uuid.uuid4(), verdict=verdict,
            sent_at=now - 60_000 + position * 1_000,
            content=evidence.seal_content(words.encode(), made.pk, position), **fields,
        )  # fmt: skip
    with transaction.atomic():
        return cases.note_report(made, now)
