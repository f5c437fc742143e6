"""A number becomes a device: a code is sent, and given back."""

from __future__ import annotations

from typing import NamedTuple

from django.db import transaction

from accounts import limits, sms
from accounts.appeals import banned_account
from accounts.errors import Refused, banned
from accounts.guards import traffic
from accounts.installations import check_not_banned, installation_hash, lock
from accounts.models import Account
from accounts.residency import check_region, home_of
from accounts.services import carried, codes, consents, guards, pins, prekeys, recycling
from accounts.services.codes import Asker
from accounts.services.devices import link_device
from accounts.services.sessions import Tokens, is_good, known_device, start_session
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code


class CodeSent(NamedTuple):
    expires_at: int  # ms since the epoch
    retry_after: int  # ms until another code should be asked for


def send_code(
    *,
    phone: str,
    address: str,
    device_id: str | None = None,
    accept_language: str = "",
    challenge_answer: str = "",
) -> CodeSent:
    """Send a new code, which replaces the old one. Neither the answer nor the work tells whether the number has an account:
    nothing of one is read, its language neither. The caller has counted the request (:func:`guards.count_address`).

    ``device_id`` is the client's installation id, ``accept_language`` the header, ``challenge_answer`` to what
    :func:`accounts.services.guards.let_in` asked for before; what it raises goes on. Raises :class:`Refused`: ``rate_limited`` by
    address, by installation or by number, ``banned`` (the installation), ``bad_request`` when the number takes no messages,
    ``unavailable`` when the message was not handed over, ``wrong_region`` when the number's country is served elsewhere.
    """
    home_of(phone)
    now = now_ms()
    installation = installation_hash(device_id)
    if installation is not None:
        check_not_banned(installation=installation, now=now)
    guards.let_in(phone=phone, address=address, answer=challenge_answer, now=now)
    limits.count(
        scope="register_ip",
        subject=address,
        limit=LIMITS.registrations_per_ip_day,
        window_ms=limits.DAY_MS,
        now=now,
    )
    if installation is not None:
        limits.count(
            scope="register_device",
            subject=installation.hex(),
            limit=LIMITS.registrations_per_device_day,
            window_ms=limits.DAY_MS,
            now=now,
        )
    limits.count(
        scope="otp_send", subject=phone, limit=LIMITS.otp_sends_per_hour, window_ms=limits.HOUR_MS, now=now
    )
    guards.spend(phone=phone, now=now)
    code, expires_at = codes.make(phone=phone, asker=Asker(address, installation), now=now)
    try:
        sms.send(to=phone, body=sms.verification(code, phone=phone, accept_language=accept_language))
    except sms.SmsRefused:
        raise Refused(
            Code.BAD_REQUEST, "This number takes no text messages.", details={"field": "phoneNumber"}
        ) from None
    except sms.SmsUnavailable:
        traffic.failed(phone, now)
        raise Refused(
            Code.UNAVAILABLE, "The message cannot be sent now; try again.", retry_after_ms=60_000
        ) from None
    return CodeSent(expires_at, limits.HOUR_MS // max(LIMITS.otp_sends_per_hour, 1))


def verify(
    *,
    phone: str,
    code: str,
    device_name: str,
    registration_id: int | None,
    refresh_token: str | None,
    address: str,
    device_id: str | None = None,
    pin: str | None = None,
    start_anew: bool = False,
    terms_version: str | None = None,
) -> Tokens:
    """Exchange a code for a session: of a new account, a new device of an account, or the device that ``refresh_token`` names.

    An account with a PIN gets a new device by ``pin`` only. ``start_anew`` says that the PIN is not known: once the account was
    not used for 7 days it goes (``recycling``), and the number begins with a new one.

    Raises :class:`Refused`: ``unauthenticated`` (wrong, expired, or no code: not told apart), ``rate_limited`` (the attempts
    of this code, of the day, or at the PIN are used up; the number had its accounts of the day), ``banned``, ``limit_exceeded``
    (devices), ``forbidden`` ({pinRequired, until}, {pinWrong}, {termsRequired}), ``wrong_region``, ``unavailable``. A code
    refused for anything but itself stays good.
    """
    now = now_ms()
    asker = Asker(address, installation_hash(device_id))
    with transaction.atomic():
        # Not locked yet: accounts are locked before their devices.
        device = known_device(phone=phone, refresh_token=refresh_token, lock=False)
        found = codes.check(phone=phone, code=code, asker=asker, device=device, now=now)
        if isinstance(found, Refused):
            refusal = found
        else:
            stored = bytes(found.installation) if found.installation is not None else None
            opened = _open(
                phone=phone,
                device_name=device_name,
                registration_id=registration_id,
                refresh_token=refresh_token,
                installation=asker.installation or stored,
                pin=pin,
                start_anew=start_anew,
                terms_version=terms_version,
                now=now,
            )
            if isinstance(opened, Tokens):
                consents.note_terms(
                    user_id=opened.user_id, device_id=opened.device_id, version=terms_version, now=now
                )
                codes.use_up(found)
                return opened
            refusal = opened
    raise refusal


def _open(
    *,
    phone: str,
    device_name: str,
    registration_id: int | None,
    refresh_token: str | None,
    installation: bytes | None,
    pin: str | None,
    start_anew: bool,
    terms_version: str | None,
    now: int,
) -> Tokens | Refused:
    """A refusal that is returned has to be committed: nothing else has changed then, but that a number whose ban waited for the
    next account has that account now."""
    lock(installation)
    check_not_banned(installation=installation, now=now)
    carried.lock(phone)
    account = _account(phone, now)
    check_region(account.region)
    if account.is_banned(now):
        # Also of one that was just made, which has the ban of who had the number before, and its appeal.
        return banned_account(account)
    # Read again: now that the account is locked, the device cannot be unlinked meanwhile.
    device = known_device(phone=phone, refresh_token=refresh_token)
    if device is not None and device.is_banned(now):
        raise banned(device.banned_until)
    stored = pins.of(account=account)
    # A device whose session was revoked may be one whose tokens were copied: they prove nothing then. Nor does a token that was
    # used before: who shows such a one to ``/auth/refresh`` ends the session.
    shown = device if stored is not None and is_good(device, refresh_token, now) else None
    if stored is not None and (shown is None or shown.revoked_at is not None):
        until = recycling.locked_until(account=account)
        if pin:
            refusal = pins.check(stored=stored, pin=pin, by=shown, now=now)
            if refusal is not None:
                return refusal
        elif start_anew and until <= now:
            device = None
            account = _another(account, phone, now)
        else:
            raise pins.required(until=until)
    elif device is None and recycling.changed_hands(account=account, now=now):
        account = _another(account, phone, now)
    consents.check_terms(account=account, version=terms_version)
    if device is None:
        try:
            device = link_device(
                account=account,
                name=device_name,
                registration_id=registration_id,
                installation=installation,
                now=now,
            )
        except Refused as error:
            if stored is not None and pin:
                return error  # nothing has changed but the count of PINs
            raise
        return start_session(device=device, now=now)
    device.name = device_name
    if registration_id is not None and registration_id != device.registration_id:
        # Another installation: the private keys of what is on file are gone.
        prekeys.forget(device=device)
        device.registration_id = registration_id
    if installation is not None:
        device.installation = installation
    device.save(update_fields=["name", "registration_id", "installation"])
    return start_session(device=device, now=now)


def _another(account: Account, phone: str, now: int) -> Account:
    """The number goes to somebody else."""
    recycling.retire(account=account, now=now)
    return _account(phone, now)


def _account(phone: str, now: int) -> Account:
    account, made = Account.objects.select_for_update().get_or_create(
        phone=phone, defaults={"region": home_of(phone), "created_at": now}
    )
    if made:
        # Otherwise whoever begins anew again and again writes to as many strangers each time as an account may.
        limits.count(
            scope="accounts_number",
            subject=phone,
            limit=LIMITS.accounts_per_number_day,
            window_ms=limits.DAY_MS,
            now=now,
        )
        carried.take_over(account=account, now=now)
    return account
