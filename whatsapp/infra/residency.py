"""Which regions there are, which of them this installation holds, and whether a conversation may be written here.

A region is a place that holds data; a jurisdiction is the law that it is under. An account has a home region, by its number. A
conversation lives in the region of the strictest jurisdiction of those who are in it when it is made; ten bits of its id say
which, so that nobody has to be asked. ``docs/subsystems/residency.md`` says what is refused where.

Without ``REGIONS`` there is one region, ``HOME_REGION``, and everything may be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed

from whatsapp.wire.errors import Code

MAX_REGION: Final = 1023
#: In ``REGION_OF_NUMBERS``: every number that no other key begins.
OTHERS: Final = "*"

#: Where an id has its version and the 12 bits behind it: two of the kind, ten of the region (``delivery/ids.py``).
_VERSION: Final = 14
_END: Final = 18


#: What clients are told; ``details`` say the rest.
ELSEWHERE: Final = "This is kept in another region; ask there."


class WrongRegion(Exception):
    """What was to be written belongs to a region that is not held here. ``details`` say where: ``{region, name, jurisdiction,
    url}``, each None where it is not known. ``message`` is for the client."""

    code = Code.WRONG_REGION

    def __init__(self, details: dict[str, Any], message: str = "") -> None:
        self.message = message or ELSEWHERE
        super().__init__(self.message)
        self.details = details


@dataclass(frozen=True, slots=True)
class Region:
    number: int
    name: str
    jurisdiction: str
    url: str = ""  # of the installation that holds it, for clients


class Residency:
    """What the settings say. Immutable; :func:`current` has this process's."""

    __slots__ = ("_home", "_numbers", "_ranks", "allowed", "here", "regions")

    def __init__(
        self,
        regions: Mapping[int, Region],
        here: Iterable[int],
        jurisdictions: Sequence[str],
        numbers: Mapping[str, int],
        home: int,
    ) -> None:
        """``jurisdictions``: the strictest first. ``numbers``: how numbers begin, without +, → region."""
        self.regions = dict(regions)
        self.here = frozenset(here)
        self._home = home
        self._numbers = dict(numbers)
        self._ranks = {name: rank for rank, name in enumerate(jurisdictions)}
        #: The four characters of an id that a conversation may have here; None: all.
        self.allowed: frozenset[str] | None = None
        if self.regions:
            self.allowed = frozenset(
                f"8{kind << 10 | region:03x}" for kind in range(4) for region in self.here
            )

    @property
    def on(self) -> bool:
        """Whether there are regions."""
        return self.allowed is not None

    def has(self, region: int) -> bool:
        """Whether rows of this region may be here."""
        return self.allowed is None or region in self.here

    def holds(self, conversation: str) -> bool:
        """Whether a conversation, by its id (lower-case text), may be written here. It is asked for each message: a slice and
        a look into a set. With regions, an id that has none is nobody's."""
        allowed = self.allowed
        return allowed is None or conversation[_VERSION:_END] in allowed

    def home_of(self, phone: str) -> int:
        """The home region of who has this number (E.164): of the longest beginning that is known."""
        digits = phone.removeprefix("+")
        for length in range(len(digits), 0, -1):
            if (found := self._numbers.get(digits[:length])) is not None:
                return found
        return self._numbers.get(OTHERS, self._home)

    def strictest(self, regions: Iterable[int]) -> int:
        """Where a conversation of people of these home regions lives: in one of the strictest jurisdiction among them, in
        ``HOME_REGION`` if that is one of those, else in the one with the lowest number. A region that is not known is the
        strictest there is: what may be done with its data, nobody has said."""
        if self.allowed is None:
            return self._home
        return min(set(regions), key=lambda region: (self._rank(region), region != self._home, region))

    def may_hold(self, region: int, home: int) -> bool:
        """Whether a conversation that lives in ``region`` may have a member of the home region ``home``: only if the law there
        is at least as strict as theirs."""
        return self.allowed is None or self._rank(region) <= self._rank(home)

    def check(self, conversation: str) -> None:
        """Raises :class:`WrongRegion` for a conversation that must not be written here."""
        if not self.holds(conversation):
            raise WrongRegion(self.details(self.region_in(conversation)))

    def region_in(self, conversation: str) -> int | None:
        """The region in a conversation's id; None: it has none."""
        try:
            bits = int(conversation[_VERSION:_END], 16)
        except ValueError:
            return None
        return bits & MAX_REGION if bits >> 12 == 8 else None

    def details(self, region: int | None) -> dict[str, Any]:
        """``details`` of the error that refuses it."""
        known = self.regions.get(region) if region is not None else None
        return {
            "region": region,
            "name": known.name if known else None,
            "jurisdiction": known.jurisdiction if known else None,
            "url": known.url or None if known else None,
        }

    def _rank(self, region: int) -> int:
        known = self.regions.get(region)
        return -1 if known is None else self._ranks[known.jurisdiction]


def problems(
    regions: Mapping[str, Any],
    here: Sequence[int],
    jurisdictions: Sequence[str],
    numbers: Mapping[str, Any],
    home: int,
) -> list[str]:
    """What is wrong with these settings, a sentence each; without ``REGIONS`` none of the others may be set."""
    if not 0 <= home <= MAX_REGION:
        return [f"HOME_REGION is {home}; it must be 0 to {MAX_REGION}."]
    if not regions:
        names = [
            name
            for name, value in (
                ("REGIONS_HERE", here),
                ("JURISDICTIONS", jurisdictions),
                ("REGION_OF_NUMBERS", numbers),
            )
            if value
        ]
        return (
            [f"{names[0]} is set, and REGIONS is not: there are no regions that it could be about."]
            if names
            else []
        )
    found = []
    for number, region in regions.items():
        if not (
            number.isascii() and number.isdigit() and str(int(number)) == number and int(number) <= MAX_REGION
        ):
            found.append(f"REGIONS has a region {number!r}; its number must be 0 to {MAX_REGION}.")
        elif (
            not isinstance(region, dict)
            or not {"name", "jurisdiction"} <= region.keys() <= {"name", "jurisdiction", "url"}
            or not all(isinstance(value, str) for value in region.values())
        ):
            found.append(
                f"REGIONS: region {number} must have name and jurisdiction, and may have url; all are texts."
            )
        elif region["jurisdiction"] not in jurisdictions:
            found.append(
                f"REGIONS: region {number} is under {region['jurisdiction']!r}, which JURISDICTIONS does not name: nobody knows"
                " how strict it is."
            )
        elif region.get("url") and not region["url"].startswith(("https://", "http://")):
            found.append(f"REGIONS: the url of region {number} must begin with https://.")
    if len(set(jurisdictions)) != len(jurisdictions):
        found.append("JURISDICTIONS names one twice; it is an order, the strictest first.")
    if str(home) not in regions:
        found.append(f"HOME_REGION is {home}, which REGIONS does not have.")
    if here and home not in here:
        found.append(f"REGIONS_HERE does not have HOME_REGION, {home}: nobody could register here.")
    found += [
        f"REGIONS_HERE has {number}, which REGIONS does not have."
        for number in here
        if str(number) not in regions
    ]
    for prefix, number in numbers.items():
        if prefix != OTHERS and not (prefix.isascii() and prefix.isdigit() and len(prefix) <= 15):
            found.append(
                f"REGION_OF_NUMBERS has {prefix!r}; a key is the first digits of numbers, without +, or {OTHERS!r}."
            )
        elif type(number) is not int or str(number) not in regions:
            found.append(f"REGION_OF_NUMBERS: {prefix!r} is for {number!r}, which is no region of REGIONS.")
    if OTHERS not in numbers:
        found.append(f"REGION_OF_NUMBERS has no {OTHERS!r}: it must say where all other numbers belong.")
    return found


class _Unread:
    """Stands for the prefixes until the settings have been read."""

    def __contains__(self, prefix: object) -> bool:
        allowed = current().allowed
        return allowed is None or prefix in allowed


_current: Residency | None = None
#: Of :attr:`_current`, for :func:`holds`.
_allowed: frozenset[str] | _Unread | None = _Unread()


def current() -> Residency:
    """What this process's settings say."""
    global _current, _allowed
    if _current is None:
        _current = _from_settings()
        _allowed = _current.allowed
    return _current


def holds(conversation: str) -> bool:
    """:meth:`Residency.holds` of this process's settings, without a further call: the message path asks this."""
    return _allowed is None or conversation[_VERSION:_END] in _allowed


def details_of(conversation: str) -> dict[str, Any]:
    """``details`` of the error that refuses a conversation."""
    here = current()
    return here.details(here.region_in(conversation))


def check(conversation: str) -> None:
    """:meth:`Residency.check` of this process's settings."""
    if not holds(conversation):
        current().check(conversation)


def _from_settings() -> Residency:
    return Residency(
        {
            int(number): Region(int(number), one["name"], one["jurisdiction"], one.get("url", "").rstrip("/"))
            for number, one in settings.REGIONS.items()
        },
        settings.REGIONS_HERE or (settings.HOME_REGION,),
        settings.JURISDICTIONS,
        settings.REGION_OF_NUMBERS,
        settings.HOME_REGION,
    )


def _forget(setting: str, **_: Any) -> None:
    global _current, _allowed
    if setting in ("REGIONS", "REGIONS_HERE", "JURISDICTIONS", "REGION_OF_NUMBERS", "HOME_REGION"):
        _current, _allowed = None, _Unread()


setting_changed.connect(_forget)
