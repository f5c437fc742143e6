"""Where people's data may be, for services: what is refused names the region and the address that serves it."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable

from accounts.errors import Refused
from accounts.models import Account
from whatsapp.infra import residency
from whatsapp.infra.residency import WrongRegion


def refused(error: WrongRegion) -> Refused:
    return Refused(error.code, error.message, details=error.details)


def check_region(region: int) -> None:
    """Raises :class:`Refused` (``wrong_region``) for a region whose rows must not be here."""
    regions = residency.current()
    if not regions.has(region):
        raise refused(WrongRegion(regions.details(region)))


def home_of(phone: str) -> int:
    """The home region of who has this number. Raises :class:`Refused` (``wrong_region``): it is not held here."""
    region = residency.current().home_of(phone)
    check_region(region)
    return region


def homes_of(users: Collection[uuid.UUID]) -> set[int]:
    """The home regions of these users; empty without regions."""
    if not residency.current().on:
        return set()
    return set(Account.objects.filter(pk__in=users).values_list("region", flat=True).distinct())


def region_for(homes: Collection[int]) -> int:
    """Where a new conversation of people of these home regions lives. Raises :class:`Refused` (``wrong_region``): not here."""
    region = residency.current().strictest(homes)
    check_region(region)
    return region


def check_conversation(conversation: str) -> None:
    """Raises :class:`Refused` (``wrong_region``) for a conversation that must not be written here."""
    try:
        residency.check(conversation)
    except WrongRegion as error:
        raise refused(error) from None


def not_to_join(conversation: str, users: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Of these users those who may not come into a conversation, with their home regions: the law where it lives is less strict
    than theirs, or they should not be here at all."""
    regions = residency.current()
    if not regions.on:
        return {}
    lives = regions.region_in(conversation)
    homes = Account.objects.filter(pk__in=list(users)).values_list("pk", "region")
    return {
        user: home
        for user, home in homes
        if lives is None or not regions.has(home) or not regions.may_hold(lives, home)
    }


def check_joining(conversation: str, users: Iterable[uuid.UUID]) -> None:
    """Raises :class:`Refused` (``wrong_region``), about where they are at home, for the first of :func:`not_to_join`."""
    for home in not_to_join(conversation, users).values():
        details = residency.current().details(home)
        message = "This group is kept where the law is less strict than at their home."
        raise refused(WrongRegion(details, message))
