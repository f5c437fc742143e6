"""What identifies a person in the stores: whoever erases, exports or searches begins with it."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db.models import Q

from accounts import stores
from accounts.models import Account, Device, InstallationBan, LeftNumber, Photo, VerificationCode
from accounts.stores import Person
from whatsapp.infra.clock import now_ms

_NONCE: Final = 12


def person_of(account: Account) -> Person:
    """The account as it is now. Stores of other apps add what they know the person by (``Store.knows``)."""
    user_id = str(account.pk)
    devices = list(Device.objects.filter(user=account).values_list("pk", "installation"))
    others = {bytes(installation).hex() for _, installation in devices if installation}
    others.update(photo.hex for photo in Photo.objects.filter(account=account).values_list("pk", flat=True))
    left = LeftNumber.objects.filter(account=account).values_list("sealed", flat=True)
    numbers = (unseal_number(bytes(sealed), user_id) for sealed in left)
    others.update(number for number in numbers if number and not _is_elsewhere(number, user_id))
    for store in stores.all_stores():
        others.update(_known(store, user_id))
    return Person(
        user_id=user_id,
        phone=account.phone or "",
        device_ids=tuple(str(device) for device, _ in devices),
        others=tuple(sorted(others)),
    )


def _known(store: stores.Store, user_id: str) -> Iterable[str]:
    knows = getattr(store, "knows", None)
    return knows(user_id) if knows is not None else ()


def user_hash(user_id: str) -> bytes:
    """What is left of an erased account: a keyed hash of its id, which tells who has the id and the key that it was erased."""
    return user_hashes(user_id)[0]


def user_hashes(user_id: str) -> list[bytes]:
    """Also under keys of earlier times: the present one first."""
    return [_mac(f"erased:{user_id}", secret) for secret in _secrets()]


def number_hashes(phone: str) -> list[bytes]:
    """Keyed hashes of a number, under which something is kept of whom only the number would tell: the present key first. Whoever
    has the key can try all numbers, and nobody else can."""
    return [_mac(f"number:{phone}", secret) for secret in _secrets()]


def seal(person: Person) -> bytes:
    """Encrypted under ``SECRET_KEY``, for :class:`accounts.models.Erasure`."""
    text = json.dumps([person.user_id, person.phone, person.device_ids, person.conversations, person.others])
    return _encrypt("erasure", text, person.user_id)


def unseal(data: bytes, user_id: str) -> Person:
    """Of what was sealed under a ``SECRET_KEY`` that nobody has any more only the id is known."""
    found = _decrypt("erasure", data, user_id)
    if found is None:
        return Person(user_id)
    user, phone, devices, conversations, others = json.loads(found)
    return Person(user, phone, tuple(devices), tuple(conversations), tuple(others))


def seal_number(phone: str, user_id: str) -> bytes:
    """Encrypted under ``SECRET_KEY``, for :class:`accounts.models.LeftNumber`."""
    return _encrypt("left_number", phone, user_id)


def unseal_number(data: bytes, user_id: str) -> str:
    """'' of one that was sealed under a ``SECRET_KEY`` that nobody has any more."""
    return _decrypt("left_number", data, user_id) or ""


def without_shared(person: Person) -> Person:
    """What somebody else has now is not theirs any more: a number that another account was made with since, or will be with a
    code that is good now, an installation or
    a token that a device of another account names, and an installation that is banned, whoever comes with it."""
    phone = person.phone
    if phone and _is_elsewhere(phone, person.user_id):
        phone = ""
    hashes = [bytes.fromhex(one) for one in person.others if _is_hash(one)]
    elsewhere = Device.objects.filter(~Q(user=person.user_id), installation__in=hashes)
    banned = InstallationBan.objects.filter(installation__in=hashes)
    shared = [
        *elsewhere.values_list("installation", flat=True),
        *banned.values_list("installation", flat=True),
    ]
    others = set(person.others) - {bytes(installation).hex() for installation in shared}
    others -= {number for number in others if is_number(number) and _is_elsewhere(number, person.user_id)}
    for store in stores.all_stores():
        drop = getattr(store, "shared", None)
        if drop is not None:
            others -= set(drop(person))
    return Person(person.user_id, phone, person.device_ids, person.conversations, tuple(sorted(others)))


def is_number(text: str) -> bool:
    """Of what else identifies a person: a number of before."""
    return text.startswith("+")


def _is_elsewhere(phone: str, user_id: str) -> bool:
    """Whether somebody else has the number, or is about to get it."""
    others = Account.objects.filter(~Q(pk=user_id), phone=phone)
    asked = VerificationCode.objects.filter(phone=phone, expires_at__gt=now_ms())
    return others.exists() or asked.exists()


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)


def _secrets() -> list[str]:
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]


def _encrypt(purpose: str, text: str, user_id: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(_mac(purpose, _secrets()[0])).encrypt(nonce, text.encode(), user_id.encode())


def _decrypt(purpose: str, data: bytes, user_id: str) -> str | None:
    for secret in _secrets():
        try:
            return (
                AESGCM(_mac(purpose, secret)).decrypt(data[:_NONCE], data[_NONCE:], user_id.encode()).decode()
            )
        except (InvalidTag, ValueError):
            continue
    return None


def _mac(text: str, secret: str) -> bytes:
    return hmac.digest(secret.encode(), text.encode(), hashlib.sha256)
