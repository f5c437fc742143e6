"""What waits for a moderator, for the first page: how many cases and appeals, and where they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.urls import reverse

from accounts.models import Sanction
from whatsapp.infra.clock import now_ms
from whatsapp.staff import fresh_eyes
from whatsapp.staff.moderation import access, queue


class Card(NamedTuple):
    """``value``: "12", "999+"."""

    title: str
    icon: str
    value: str
    link: str


def cards(user: Any) -> list[Card]:
    """Those for what this member of staff may open; none for who has nothing to do with it. Read from indexes, up to a thousand
    rows each."""
    found = []
    now, me = now_ms(), user.get_username()
    if access.enter(user):
        address = reverse("admin:moderation_queue")
        lists = [("open", "Open cases", "inbox"), ("overdue", "Overdue cases", "alarm")]
        if user.has_perm(access.MODERATE):
            lists.append(("mine", "Cases of mine", "assignment_ind"))
        found = [
            Card(title, icon, queue.count(name, me, now), f"{address}?list={name}")
            for name, title, icon in lists
        ]
    if user.has_perm("accounts.view_sanction") and user.has_perm(fresh_eyes.DECIDE):
        asked = Sanction.objects.filter(appeal=Sanction.Appeal.ASKED).order_by("appeal", "-pk")
        address = f"{reverse('admin:accounts_sanction_changelist')}?appeal__exact={Sanction.Appeal.ASKED}"
        found.append(Card("Open appeals", "thumbs_up_down", queue.counted(asked), address))
    return found
