"""Who calls: a bearer token (RFC 6750), then one query for its device and account."""

from __future__ import annotations

from typing import Final

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts.appeals import banned_account
from accounts.errors import banned
from accounts.models import Account, Device
from accounts.residency import check_region
from accounts.tokens import TokenError, read_access
from whatsapp.infra.clock import now_ms


def session(header: str) -> tuple[Account, Device] | None:
    """Who calls with this ``Authorization``; None: nobody says who. Raises ``AuthenticationFailed``, and :class:`Refused`
    (``banned``)."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None
    try:
        access = read_access(token.strip())
    except TokenError as error:
        raise AuthenticationFailed(f"{str(error).capitalize()}.") from None
    device = (
        Device.objects.select_related("user")
        .filter(pk=access.device_id, user_id=access.user_id, unlinked_at=None)
        .first()
    )
    if device is None:
        raise AuthenticationFailed("The device is not linked any more.")
    if device.user.is_banned(now_ms()):
        raise banned_account(device.user)
    if device.is_banned(now_ms()):
        raise banned(device.banned_until)
    if device.revoked_at is not None or access.issued_at < device.session_from:
        raise AuthenticationFailed("The session has ended.")
    return device.user, device


#: Methods by which nothing is kept that was not here before.
_KEEPS: Final = frozenset(("GET", "HEAD", "OPTIONS", "DELETE"))


class DeviceAuthentication(BaseAuthentication):
    """Sets ``request.user`` to the :class:`Account` and ``request.auth`` to its :class:`Device`."""

    def authenticate(self, request: Request) -> tuple[Account, Device] | None:
        found = session(request.META.get("HTTP_AUTHORIZATION", ""))
        # Whoever should not be here may look, take away, and go (``docs/subsystems/residency.md``).
        view = request.parser_context.get("view")
        if found is not None and request.method not in _KEEPS and not getattr(view, "region_free", False):
            check_region(found[0].region)
        return found

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'
