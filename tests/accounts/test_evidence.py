"""What was reported is sealed; cases that wait are counted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from accounts import case_figures, evidence
from accounts.models import Case, ReportedMessage
from accounts.services import cases
from tests.accounts.test_cases import case_of, closed, report
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def reported(subject: uuid.UUID, content: bytes = b"words") -> ReportedMessage:
    """One message of a report about somebody."""
    made = report(subject)
    made.note = evidence.seal_note("look at this", made.pk)
    made.save(update_fields=["note"])
    return ReportedMessage.objects.create(
        report=made,
        position=0,
        message_id=uuid.uuid4(),
        sender=subject,
        sent_at=1,
        content=evidence.seal_content(content, made.pk, 0),
        verdict="verified",
    )


def test_an_earlier_key_still_opens(settings: Any) -> None:
    message = reported(uuid.uuid4())
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 64, [settings.SECRET_KEY]
    assert evidence.content_of(message) == b"words"
    assert evidence.note_of(message.report) == "look at this"
    settings.SECRET_KEY_FALLBACKS = []
    assert evidence.content_of(message) is None
    assert evidence.note_of(message.report) == ""


def test_what_was_emptied_opens_as_nothing() -> None:
    message = reported(uuid.uuid4())
    message.content, message.report.note = b"", ""
    assert evidence.content_of(message) is None
    assert evidence.note_of(message.report) == ""


@pytest.mark.django_db(transaction=True)
def test_open_cases_are_counted() -> None:
    before = case_figures._counted()
    subjects = [uuid.uuid4() for _ in range(4)]
    for subject in subjects:
        report(subject)
    cases.claim(case_of(subjects[0]), "mia")
    closed(subjects[1], "limit")
    Case.objects.filter(subject=subjects[2]).update(due_at=now_ms() - 1)
    Case.objects.filter(subject=subjects[3]).update(flagged_at=1)
    after = case_figures._counted()
    assert {name: after[name] - before[name] for name in after} == {
        "open": 2,
        "claimed": 1,
        "waiting": 0,
        "flagged": 1,
        "overdue": 1,
    }
