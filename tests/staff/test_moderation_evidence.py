"""Who sees the evidence of a case, what the page shows of it, and who may do nothing there."""

from __future__ import annotations

import pytest

from accounts.models import Case, Sanction
from media.models import Media
from tests.accounts.conftest import sign_in
from tests.staff.cases import WORDS, report
from tests.staff.conftest import Staff
from tests.staff.moderating import MODERATE, VIEW, Make, address, messages_of, press
from tests.staff.world import make_world
from whatsapp.infra.clock import now_ms
from whatsapp.staff.moderation import wellbeing

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")


def test_evidence_is_for_who_works_on_the_case_and_each_look_is_written_down(make_staff: Make) -> None:
    case = report(sign_in(), note="It goes on and on.")
    ann, ben, lead = make_staff(MODERATE), make_staff(MODERATE), make_staff(VIEW)
    for staff in (ann, ben, lead):
        assert WORDS not in staff.page(address(case))
    press(ann, case, "claim")
    page = ann.page(address(case))
    assert WORDS in page
    assert "It goes on and on." in page
    for staff in (ben, lead):
        shown = staff.page(address(case))
        assert WORDS not in shown
        assert "It goes on and on." not in shown
    assert messages_of(ann)[-2:] == ["Claimed", "Looked at the evidence"]
    assert "Looked at the evidence" not in [*messages_of(ben), *messages_of(lead)]
    Case.objects.filter(pk=case.pk).update(claimed_at=now_ms() - 31 * 60_000)  # its time is over
    assert WORDS not in ann.page(address(case))
    press(ben, case, "claim")
    assert WORDS in ben.page(address(case))


def test_reporters_have_no_names_on_the_page(make_staff: Make) -> None:
    accused, reporters = sign_in(), [sign_in() for _ in range(3)]
    for each in reporters:
        case = report(accused, by=each)
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    assert accused.user_id in page
    assert "Reporter 3" in page
    for each in reporters:
        assert each.user_id not in page
        assert each.phone not in page
    assert accused.phone not in page


def test_grave_evidence_stays_hidden_until_it_is_asked_for(make_staff: Make) -> None:
    case = report(sign_in(), "child_safety")
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    assert WORDS not in staff.page(address(case))
    assert "Looked at the evidence" not in messages_of(staff)
    assert WORDS in staff.page(address(case) + "?show=1")
    assert messages_of(staff)[-1] == "Looked at the evidence"
    assert wellbeing.today(staff.user).grave == 1


def test_what_people_wrote_is_text_and_never_markup(make_staff: Make) -> None:
    case = report(
        sign_in(), said=[("<script>alert(1)</script>", "verified")], note="<img src=x onerror=alert(1)>"
    )
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_verdicts_are_shown_and_a_forged_copy_is_named_so(make_staff: Make) -> None:
    accused = sign_in()
    report(accused, said=[("He said this.", "forged")])
    case = report(accused, said=[("He said that.", "verified"), ("And that.", "unverifiable")])
    staff = make_staff(MODERATE)
    press(staff, case, "claim")
    page = staff.page(address(case))
    for words, label in (
        ("He said this.", "forged"),
        ("He said that.", "verified"),
        ("And that.", "unverifiable"),
    ):
        before = page[: page.index(words)]
        head = before[before.rindex("mod-message-head") :]
        assert label in head, words


def test_a_picture_of_evidence_is_for_who_sees_the_evidence(make_staff: Make) -> None:
    world = make_world()
    case = report(sign_in(), said=[("Look", "verified")], media=world.photo.pk)
    ann, ben = make_staff(MODERATE), make_staff(MODERATE)
    press(ann, case, "claim")
    assert address(case, f"media/{world.photo.pk}") in ann.page(address(case))
    answer = ann.client.get(address(case, f"media/{world.photo.pk}"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert ben.client.get(address(case, f"media/{world.photo.pk}")).status_code == 403
    other = Media.objects.exclude(pk=world.photo.pk).first()
    assert other is not None
    assert ann.client.get(address(case, f"media/{other.pk}")).status_code == 403


def test_who_may_not_moderate_does_nothing(make_staff: Make) -> None:
    accused = sign_in()
    case = report(accused)
    lead, nobody = make_staff(VIEW), make_staff("accounts.view_account")
    for staff in (lead, nobody):
        for act in ("claim", "release", "decide", "undo"):
            fields = {"action": "day", "reason": "spam", "note": "because I can"}
            assert press(staff, case, act, **fields).status_code == 403, act
        assert staff.client.post("/admin/moderation/next/").status_code == 403
    assert nobody.client.get("/admin/moderation/").status_code == 403
    assert nobody.client.get("/admin/moderation/figures/").status_code == 403
    assert case.state == Case.State.OPEN
    assert not Sanction.objects.filter(account=accused.user_id).exists()


@pytest.mark.parametrize("act", ["next", "claim", "release", "decide", "second", "undo"])
def test_nothing_is_done_by_looking(superuser: Staff, act: str) -> None:
    case = report(sign_in())
    path = "/admin/moderation/next/" if act == "next" else address(case, act)
    assert superuser.client.get(path).status_code == 405
