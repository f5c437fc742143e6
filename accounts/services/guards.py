"""What stands before a code is sent: switches, caps, what is known of the number, and something to solve.

All of it fails closed: what cannot be counted or judged sends nothing, except where a setting says that a service of others may
be away (``CAPTCHA_FAILS``, ``PHONE_RISK_FAILS``).
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final, NoReturn

from django.conf import settings
from django.utils.module_loading import import_string

from accounts import limits
from accounts.errors import Refused
from accounts.guards import captcha, prefixes, risk, traffic, work
from accounts.guards.traffic import State
from accounts.limits import DAY_MS, HOUR_MS
from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: Messages to the number are not to be had, whatever the client does now.
_CLOSED: Final = (State.OFF, State.SPENT, State.BLOCKED)
for _kind in (*_CLOSED, "captcha_unknown", "risk_unknown", "no_prices"):
    metrics.count("registrations", _kind, 0)  # an alert asks whether they increase


def count_address(address: str, now: int) -> None:
    """Requests of one address and of its network, answered or not: each may cost a call to a service. Raises :class:`Refused`
    (``rate_limited``)."""
    for scope, subject, most in (
        ("register_tries", address, LIMITS.registration_tries_per_ip_day),
        ("register_network", network_of(address), LIMITS.registration_tries_per_network_day),
    ):
        limits.count(scope=scope, subject=subject, limit=most, window_ms=DAY_MS, now=now)


def network_of(address: str) -> str:
    """The /24 of an IPv4 address, the /48 of an IPv6 one: what one customer of a hoster may have. ``address`` as
    ``rest.address.resolve`` gives it."""
    try:
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        return address
    wide = 24 if network.version == 4 else 48
    return str(network.supernet(new_prefix=wide)) if network.prefixlen > wide else str(network)


def let_in(*, phone: str, address: str, answer: str, now: int) -> None:
    """Return when a code may go to this number. ``answer``: to a challenge of before, "" when there is none.

    Raises :class:`Refused`: ``forbidden`` with ``challenge`` (see :func:`accounts.guards.work.issue`) when something is to be
    solved first, or with ``field`` (numbers of this kind get none); ``rate_limited`` and ``unavailable`` by what became of
    earlier codes to numbers like it.
    """
    try:
        judged = traffic.judge(phone, now)
    except prefixes.NoPrices:
        _no_prices()
    if judged.state in _CLOSED:
        _closed(judged.state, judged.wait_ms)
    score = _score(phone, address)
    if score >= settings.PHONE_RISK_REFUSE:
        metrics.count("registrations", "risk_refused")
        raise Refused(Code.FORBIDDEN, "This number cannot be registered.", details={"field": "phoneNumber"})
    suspicious = (
        judged.state is State.CHALLENGED or score >= settings.PHONE_RISK_CHALLENGE or _busy(address, now)
    )
    policy = settings.REGISTRATION_CHALLENGE
    if policy == "always" or (policy == "suspicious" and suspicious):
        _solved(phone, address, answer, now)
    if judged.state in (State.SLOWED, State.CHALLENGED):
        limits.count(
            scope="sms_slowed", subject=judged.prefix, limit=LIMITS.sms_slowed_per_hour, window_ms=HOUR_MS, now=now
        )  # fmt: skip


def spend(*, phone: str, now: int) -> None:
    """Count what a code costs, before it goes out. Raises :class:`Refused` (``unavailable``) when it would be too much."""
    try:
        traffic.spend(phone, now)
    except traffic.Spent:
        _closed(State.SPENT, HOUR_MS)
    except traffic.Busy:
        metrics.count("registrations", "busy")
        raise Refused(Code.UNAVAILABLE, "Very many ask for codes; try again.", retry_after_ms=5_000) from None
    except prefixes.NoPrices:
        _no_prices()


def _closed(state: State, wait_ms: int) -> NoReturn:
    metrics.count("registrations", state)
    raise Refused(
        Code.UNAVAILABLE,
        "No messages can be sent to this number now; try again later.",
        retry_after_ms=max(wait_ms, 1),
    ) from None


def _no_prices() -> NoReturn:
    metrics.count("registrations", "no_prices")
    _unknown()


def _busy(address: str, now: int) -> bool:
    """Whether this address has used half of its registrations of a day."""
    half = max(LIMITS.registrations_per_ip_day // 2, 1)
    found = limits.latest(scope="register_ip", subject=address, window_ms=DAY_MS, now=now, most=half)
    return len(found) >= half


def _score(phone: str, address: str) -> int:
    """0..100; without a hook nothing speaks against anybody."""
    if not settings.PHONE_RISK:
        return 0
    scorer: risk.Risk = import_string(settings.PHONE_RISK)()
    try:
        return scorer.score(phone, address)
    except risk.Unknown:
        metrics.count("registrations", "risk_unknown")
        if settings.PHONE_RISK_FAILS == "open":
            return 0
        _unknown()


def _solved(phone: str, address: str, answer: str, now: int) -> None:
    """Raises :class:`Refused` unless the answer is right."""
    if not settings.REGISTRATION_CAPTCHA:
        if answer and work.accept(answer, phone=phone, address=address, now=now):
            metrics.count("registrations", "solved")
            return
        _ask(work.issue(phone=phone, address=address, now=now), bool(answer))
    provider: captcha.Captcha = import_string(settings.REGISTRATION_CAPTCHA)()
    try:
        right = bool(answer) and provider.accept(answer, address)
    except captcha.Unknown:
        metrics.count("registrations", "captcha_unknown")
        if settings.CAPTCHA_FAILS == "open":
            return
        _unknown()
    if right:
        metrics.count("registrations", "solved")
        return
    _ask({"kind": captcha.KIND, **provider.challenge()}, bool(answer))


def _ask(challenge: dict[str, Any], answered: bool) -> NoReturn:
    metrics.count("registrations", "unsolved" if answered else "challenged")
    raise Refused(
        Code.FORBIDDEN,
        "Solve the challenge, and send the request again with `challengeAnswer`.",
        details={"challenge": challenge},
    )


def _unknown() -> NoReturn:
    raise Refused(Code.UNAVAILABLE, "This cannot be checked now; try again.", retry_after_ms=60_000)
