"""Regions by the names that the settings give them."""

from __future__ import annotations

from whatsapp.infra import residency
from whatsapp.staff.times import NONE


def region_named(number: int) -> str:
    """A home region; a dash where there are no regions."""
    known = residency.current()
    if not known.on:
        return NONE
    return known.regions[number].name if number in known.regions else f"{number}, which no setting names"
