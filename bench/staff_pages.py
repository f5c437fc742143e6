"""Which pages ``./dev bench staff`` asks for, each by the role that works with it. ``{…}``: names of the targets that
:mod:`bench.staff_rows` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_A: Final = "/admin/accounts"
_S: Final = "/admin/staff"
_Q: Final = "/admin/moderation/"

_MODERATOR: Final = {
    "dashboard": "/admin/",
    "queue": _Q,
    **{f"queue: {name}": f"{_Q}?list={name}" for name in ("mine", "overdue", "flagged", "waiting", "closed")},
    **{
        f"queue: {name}": f"{_Q}?category={name}"
        for name in (
            "other",
            "spam",
            "impersonation",
            "fraud",
            "harassment",
            "hate",
            "violence",
            "self_harm",
            "child_safety",
        )
    },
    **{f"queue: {name}": f"{_Q}?kind={name}" for name in ("user", "group", "media")},
    "queue: two filters": f"{_Q}?category=self_harm&kind=media",
    "queue: closed, two filters": f"{_Q}?list=closed&category=child_safety&kind=media",
    "queue: overdue, two filters": f"{_Q}?list=overdue&category=child_safety&kind=media",
    "queue: its rows alone": f"{_Q}?fragment=1",
    "case: a thousand reports, evidence": f"{_Q}cases/{{flood}}/?show=1",
    "case: two reports, evidence": f"{_Q}cases/{{case}}/?show=1",
    "case: closed, often reported": f"{_Q}cases/{{closed}}/",
    "case: waiting": f"{_Q}cases/{{waiting}}/",
    "what I want to see": f"{_Q}settings/",
    "second person": "/admin/approvals/",
    "users": f"{_A}/account/",
    "users: last page": f"{_A}/account/?p={{last_of_users}}",
    "users: oldest first": f"{_A}/account/?o=1",
    "users: by number": f"{_A}/account/?q={{phone_q}}",
    "users: by id": f"{_A}/account/?q={{someone}}",
    "users: nobody": f"{_A}/account/?q=nobody",
    "user": f"{_A}/account/{{someone}}/change/",
    "user: sanctioned often": f"{_A}/account/{{often}}/change/",
    "user: history": f"{_A}/account/{{logged}}/history/",
    "devices": f"{_A}/device/",
    "devices: by number": f"{_A}/device/?q={{phone_q}}",
    "devices: by user": f"{_A}/device/?q={{someone}}",
    "device": f"{_A}/device/{{device}}/change/",
    "sanctions": f"{_A}/sanction/",
    **{
        f"sanctions: {kind}": f"{_A}/sanction/?kind__exact={kind}"
        for kind in ("slow_down", "limit", "suspension", "permanent")
    },
    **{
        f"sanctions: appeal {state}": f"{_A}/sanction/?appeal__exact={state}"
        for state in ("asked", "upheld", "granted")
    },
    "sanctions: two filters": f"{_A}/sanction/?kind__exact=permanent&appeal__exact=asked",
    "sanctions: by user": f"{_A}/sanction/?q={{often}}",
    "sanctions: by kind": f"{_A}/sanction/?o=1",
    "sanction": f"{_A}/sanction/{{sanction}}/change/",
    "conversations": f"{_S}/conversation/",
    "conversations: of a user": f"{_S}/conversation/?q={{someone}}",
    "conversation": f"{_S}/conversation/{{conversation}}/change/",
    "files": "/admin/media/media/",
    **{
        f"files: {state}": f"/admin/media/media/?state__exact={state}"
        for state in ("ready", "refused", "failed", "uploading")
    },
    "files: rare": "/admin/media/media/?state__exact=refused&kind__exact=video&encrypted__exact=0",
    "files: by content": "/admin/media/media/?q={sha256}",
    "files: of a user": "/admin/media/media/?q={someone}",
    "file": "/admin/media/media/{media}/change/",
    "blocked content": "/admin/media/blockedcontent/",
    "devices notified": "/admin/notifications/pushtarget/",
    "devices notified: of a user": "/admin/notifications/pushtarget/?q={someone}",
    "sessions online": "/admin/online/",
}
_OPERATOR: Final = {
    "jobs": "/admin/jobs/",
    "runs": f"{_S}/taskrun/",
    "runs: failed": f"{_S}/taskrun/?outcome__exact=failed",
    "schedules": "/admin/schedules/",
    "schedules: all": "/admin/django_celery_beat/periodictask/",
    "pending changes": f"{_S}/pendingchange/",
    "limits": "/admin/limits/",
    "limits: may be overridden": "/admin/limits/?own=1",
    "other limits": f"{_A}/limitoverride/",
    "other limits: of classes": f"{_A}/limitoverride/?scope__exact=class",
    "other limits: of a user": f"{_A}/limitoverride/?q={{often}}",
    "other limits: of a name": f"{_A}/limitoverride/?q=messages_per_minute",
    "other limits: by value": f"{_A}/limitoverride/?o=3",
    "registrations": "/admin/registrations/",
    "registrations: prefix": "/admin/registrations/?q=491",
    "retention": "/admin/retention/",
    "residency": "/admin/residency/",
    "providers": "/admin/push/",
    "erasures": f"{_A}/erasure/",
    **{
        f"erasures: {state}": f"{_A}/erasure/?state__exact={state}"
        for state in ("soft", "erasing", "verifying", "held", "done")
    },
    "erasures: late": f"{_A}/erasure/?trouble=late",
    "erasures: failing": f"{_A}/erasure/?trouble=failing",
    "erasures: of a user": f"{_A}/erasure/?q={{someone}}",
    "erasure": f"{_A}/erasure/{{erasure}}/change/",
}
_AUDITOR: Final = {
    "figures of moderation": f"{_Q}figures/",
    "audit chain": f"{_S}/auditrecord/",
    "audit chain: last page": f"{_S}/auditrecord/?p={{last_of_records}}",
    "audit chain: rare action": f"{_S}/auditrecord/?action=job.run",
    "audit chain: about a user": f"{_S}/auditrecord/?q={{logged}}",
    "checks of the chain": "/admin/audit/",
    "audit log": "/admin/admin/logentry/",
    "audit log: about a user": "/admin/admin/logentry/?q={logged}",
    "audit log: of nobody": "/admin/admin/logentry/?user=999999",
    "audit log: of one": "/admin/admin/logentry/?user={staff}",
    "consents": f"{_A}/consent/",
    "consents: of a user": f"{_A}/consent/?q={{someone}}",
    "consent": f"{_A}/consent/{{consent}}/change/",
    "legal holds": f"{_A}/legalhold/",
    "legal holds: of a matter": f"{_A}/legalhold/?q=4 Js 7/26",
    "legal hold": f"{_A}/legalhold/{{hold}}/change/",
    "for authorities": f"{_A}/lawfulrequest/",
    "for authorities: asked": f"{_A}/lawfulrequest/?state__exact=asked",
    "for authorities: of a reference": f"{_A}/lawfulrequest/?q=4 Js 7/26",
    "for authorities: one": f"{_A}/lawfulrequest/{{lawful}}/change/",
    "staff users": "/admin/auth/user/",
    "staff groups": "/admin/auth/group/",
    "second person, all": "/admin/approvals/",
}
PAGES: Final = {"moderator": _MODERATOR, "operator": _OPERATOR, "auditor": _AUDITOR}


class Wanted(NamedTuple):
    role: str
    name: str
    path: str


def wanted(targets: Mapping[str, str]) -> Iterator[Wanted]:
    for role, pages in PAGES.items():
        for name, path in pages.items():
            yield Wanted(role, name, path.format_map(targets))
