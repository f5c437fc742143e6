"""Links into a group, and those who ask to be let in by one."""

from __future__ import annotations

import secrets
import uuid
from typing import Final, Literal, NamedTuple

from django.db import transaction

from accounts import limits
from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Account
from accounts.residency import check_conversation, check_joining
from accounts.selectors import account_by_id
from groups import access, notices, selectors
from groups.models import Invite, JoinRequest, Membership
from groups.services.counting import count_change
from groups.services.members import join
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

_CODE_BYTES: Final = 16
#: For so long a link that leads nowhere any more says ``gone``; then nobody knows it.
_GONE_MS: Final = 30 * DAY_MS


class Used(NamedTuple):
    group_id: uuid.UUID
    state: Literal["joined", "requested"]


def create_invite(
    *,
    account: Account,
    group_id: uuid.UUID,
    expires_in_ms: int | None = None,
    max_uses: int | None = None,
    approval: bool = False,
) -> Invite:
    """A new link (who may: admins). Raises :class:`Refused`: ``not_found``, ``forbidden``, ``limit_exceeded``,
    ``rate_limited``."""
    access.view(group_id=group_id, account=account)
    count_change(account)
    limits.count(
        scope="group_invites_day",
        subject=str(account.pk),
        limit=limits.limit_for(account, "group_invites_per_day"),
        window_ms=DAY_MS,
        now=now_ms(),
    )
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account)
        access.check_admin(me)
        now = now_ms()
        Invite.objects.filter(group=group, revoked_at__lt=now - _GONE_MS).delete()
        Invite.objects.filter(group=group, expires_at__lt=now - _GONE_MS).delete()
        known = list(Invite.objects.filter(group=group))
        # Closed ones count too, five times as many: they are kept for a while.
        if (
            sum(invite.is_open(now) for invite in known) >= LIMITS.group_invites
            or len(known) >= 5 * LIMITS.group_invites
        ):
            raise Refused(
                Code.LIMIT_EXCEEDED,
                f"A group has at most {LIMITS.group_invites} invites; revoke one first.",
                details={"limit": LIMITS.group_invites},
            )
        return Invite.objects.create(
            code=secrets.token_urlsafe(_CODE_BYTES),
            group=group,
            created_by=account,
            created_at=now,
            expires_at=now + expires_in_ms if expires_in_ms is not None else None,
            max_uses=max_uses,
            approval=approval,
        )


def revoke_invite(*, account: Account, group_id: uuid.UUID, code: str) -> None:
    """End a link (who may: admins). Idempotent. Raises :class:`Refused`: ``not_found``, ``forbidden``."""
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account, ending=True)
        access.check_admin(me)
        if selectors.is_code(code):
            Invite.objects.filter(group=group, code=code, revoked_at=None).update(revoked_at=now_ms())


def use_invite(*, account: Account, code: str) -> Used:
    """Join by a link, or ask to. A member stays one, who asked already has asked; neither is counted as a use.

    Raises :class:`Refused`: ``not_found``, ``gone`` (expired, revoked, used up), ``forbidden`` (an admin removed them),
    ``limit_exceeded``, ``rate_limited``.
    """
    found = selectors.invite(code=code)
    group_id = found.group_id
    count_change(account)
    if found.approval:
        limits.count(
            scope="group_asks_hour",
            subject=str(account.pk),
            limit=limits.limit_for(account, "group_asks_per_hour"),
            window_ms=limits.HOUR_MS,
            now=now_ms(),
        )
    with transaction.atomic():
        try:
            group = access.lock(group_id)
        except Refused:
            raise selectors.gone() from None
        # Again, under the lock: a link with one use is used once.
        invite = Invite.objects.get(code=code)
        member = Membership.objects.filter(group=group, user=account).first()
        if member is not None and member.left_at is None:
            return Used(group_id, "joined")
        if invite.approval and JoinRequest.objects.filter(group=group, user=account).exists():
            return Used(group_id, "requested")
        if not invite.is_open(now_ms()):
            raise selectors.gone()
        if member is not None and member.removed:
            raise Refused(Code.FORBIDDEN, "You were removed from this group; an admin must add you.")
        check_conversation(str(group_id))
        check_joining(str(group_id), [account.pk])
        invite.uses += 1
        invite.save(update_fields=["uses"])
        if not invite.approval:
            join(group=group, user=account, actor=account, invitedBy=str(invite.created_by_id))
            return Used(group_id, "joined")
        if JoinRequest.objects.filter(group=group).count() >= LIMITS.group_requests:
            raise Refused(
                Code.LIMIT_EXCEEDED,
                "Too many people wait to be let into this group.",
                details={"limit": LIMITS.group_requests},
            )
        JoinRequest.objects.create(group=group, user=account, requested_at=now_ms())
        notices.asked(group_id=group_id, user_id=account.pk)
        return Used(group_id, "requested")


def approve_request(*, account: Account, group_id: uuid.UUID, user_id: uuid.UUID) -> Membership:
    """Let somebody in who asked (who may: admins). Idempotent: of a member nothing changes.

    Raises :class:`Refused`: ``not_found`` (the group, the request), ``forbidden``, ``limit_exceeded``, ``rate_limited``.
    """
    access.view(group_id=group_id, account=account)
    count_change(account)
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account)
        access.check_admin(me)
        known = access.membership(group_id, user_id)
        if known is not None:
            return known
        if not JoinRequest.objects.filter(group=group, user_id=user_id).exists():
            raise Refused(Code.NOT_FOUND, "They did not ask to join.")
        return join(group=group, user=account_by_id(user_id=user_id), actor=account)


def refuse_request(*, account: Account, group_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Refuse a request (who may: admins), or take back one's own. Idempotent. Raises :class:`Refused`: ``not_found``,
    ``forbidden``."""
    with transaction.atomic():
        asked = JoinRequest.objects.filter(group_id=group_id, user_id=user_id)
        own = user_id == account.pk and asked.exists()
        if own:
            access.lock(group_id)
        else:
            _, me = access.enter(group_id=group_id, account=account, ending=True)
            access.check_admin(me)
        deleted, _ = asked.delete()
        if deleted and not own:
            notices.answered(group_id=group_id, user_id=user_id, accepted=False)
