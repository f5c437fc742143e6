"""Regions: whose data this installation holds (``docs/subsystems/residency.md``)."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from whatsapp.infra.residency import problems
from whatsapp.settings import env
from whatsapp.settings.accounts import HOME_REGION

#: Number → {name, jurisdiction, url?}, all there are, here and elsewhere. Empty: HOME_REGION is the only one.
REGIONS = env.json_object("REGIONS")
#: Numbers of those whose data may be here. Empty: HOME_REGION alone.
REGIONS_HERE = env.numbers("REGIONS_HERE")
#: The strictest first.
JURISDICTIONS = env.words("JURISDICTIONS")
#: How numbers begin, without + → region; the longest counts, ``*`` is for all others.
REGION_OF_NUMBERS = env.json_object("REGION_OF_NUMBERS")

if _found := problems(REGIONS, REGIONS_HERE, JURISDICTIONS, REGION_OF_NUMBERS, HOME_REGION):
    raise ImproperlyConfigured(" ".join(_found))
