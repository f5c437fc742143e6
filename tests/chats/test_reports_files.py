"""POST /reports: files that are reported, and how long they stay."""

from __future__ import annotations

import pytest

from accounts.models import Case, ReportedMessage
from media.models import Hold, Media, Reference
from media.services import contents
from tests.accounts.conftest import Person, assert_problem
from tests.chats.conftest import open_direct
from tests.chats.reporting import DAY_MS, ask, file_of, made, text
from tests.groups.conftest import sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_file_is_reported_by_who_was_sent_it(ann: Person, bob: Person, chat: str) -> None:
    media, message = file_of(bob, chat)
    report = made(ask(ann, chat, "media", mediaId=str(media.pk), messages=[message.copy()]))
    assert (str(report.reported), report.media, report.verdict) == (bob.user_id, media.pk, "verified")
    assert Case.objects.get(subject=media.pk).subject_kind == "media"
    assert report.messages.get().media == media.pk
    for person, where in ((bob, chat), (sign_in(), chat), (ann, open_direct(ann, sign_in()))):
        assert_problem(ask(person, where, "media", mediaId=str(media.pk)), "not_found", 404)


def test_a_reported_file_stays_until_its_case_is_decided(
    ann: Person, bob: Person, chat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.services.cases.now_ms", now_ms)
    (reported, message), (other, _), (unsent, elsewhere) = (
        file_of(bob, chat),
        file_of(bob, chat),
        file_of(bob, chat, sent=False),
    )
    made(ask(ann, chat, messages=[message.copy(), elsewhere.copy()]))
    assert [hold.media_id for hold in Hold.objects.all()] == [
        reported.pk
    ]  # nobody keeps what they were not sent
    # ... nor has it shown to moderators
    kept = ReportedMessage.objects.order_by("position").values_list("media", flat=True)
    assert list(kept) == [reported.pk, None]
    Reference.objects.all().delete()
    later = now_ms() + 1
    contents.drop_unused(later)
    assert _states(reported, other, unsent) == ["ready", "gone", "gone"]
    assert Media.objects.get(pk=reported.pk).look_at == later + DAY_MS
    case = Case.objects.get(subject=bob.user_id)
    Case.objects.filter(pk=case.pk).update(state="closed")
    contents.drop_unused(later + DAY_MS)
    assert _states(reported) == ["gone"]
    assert not Hold.objects.exists()


def _states(*files: Media) -> list[str]:
    return [Media.objects.get(pk=media.pk).state for media in files]


def test_a_forged_report_keeps_no_file(ann: Person, bob: Person, chat: str) -> None:
    _, message = file_of(bob, chat)
    report = made(ask(ann, chat, messages=[message.copy(content=text(b"other"))]))
    assert report.verdict == "forged"
    assert not Hold.objects.exists()
