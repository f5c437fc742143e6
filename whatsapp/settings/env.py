"""Reading the environment. What is missing or malformed raises ``ImproperlyConfigured`` with one sentence that names it."""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from whatsapp.infra.token_keys import parse


def required(name: str) -> str:
    """The variable's value; it must be set and not empty."""
    value = os.environ.get(name, "")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set: production does not start without it.")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


#: Scheme, host and port as a browser writes them: no path, no slash at the end (RFC 6454, section 6.2).
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


def origins(name: str, default: str = "") -> list[str]:
    """A comma-separated list of origins, or ``*``. What no browser would send would silently allow nobody, so it is refused;
    so is ``null``, which any sandboxed page sends."""
    found = words(name, default)
    for origin in found:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ImproperlyConfigured(
                f"{name} has {origin!r}; an origin is https://host or https://host:port, in lower case, without a slash."
            )
    return found


def number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be a whole number.") from None


def numbers(name: str) -> tuple[int, ...]:
    """A comma-separated list of whole numbers."""
    try:
        return tuple(int(word) for word in words(name))
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be whole numbers with commas between them.") from None


def json_object(name: str) -> dict[str, Any]:
    """A JSON object; empty when it is not set."""
    try:
        found = json.loads(os.environ.get(name, "") or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ImproperlyConfigured(f"{name} must be a JSON object.")
    return found


def flag(name: str, *, default: bool = False) -> bool:
    """``1`` or ``0``."""
    text = os.environ.get(name, "") or str(int(default))
    if text not in ("0", "1"):
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be 1 or 0.")
    return text == "1"


def addresses(name: str, *, default_port: int) -> list[tuple[str, int]]:
    """A comma-separated list of ``host`` or ``host:port``, an IPv6 address in brackets."""
    found = []
    for word in words(name):
        try:
            parts = urlsplit(f"//{word}")
            host, port = parts.hostname, parts.port or default_port
        except ValueError:
            host, port = None, 0
        if not host or parts.netloc != word or "@" in word:
            raise ImproperlyConfigured(f"{name} holds {word!r}; it must be host[:port][,host[:port]…].")
        found.append((host, port))
    return found


def check_smpp(
    hosts: list[tuple[str, int]], system_id: str, password: str, system_type: str, source: str
) -> None:
    """What SMPP 3.4 (sections 4.1 and 5.2) allows: 15 characters of system id, 8 of password, 12 of system type,
    20 of a sender."""
    if not hosts or not system_id or not source:
        raise ImproperlyConfigured(
            "SmppSender needs SMPP_HOSTS, SMPP_SYSTEM_ID, SMPP_PASSWORD and SMPP_SOURCE."
        )
    for name, value, most in (
        ("SMPP_SYSTEM_ID", system_id, 15),
        ("SMPP_PASSWORD", password, 8),
        ("SMPP_SYSTEM_TYPE", system_type, 12),
        ("SMPP_SOURCE", source, 11 if not source.lstrip("+").isdigit() else 20),
    ):
        if len(value) > most or not value.isascii():
            raise ImproperlyConfigured(f"{name} has at most {most} ASCII characters.")


def token_keys(text: str, file: str = "") -> dict[str, str]:
    """The keys that a process starts with: those of ``file`` if one is named, else of ``text``, as ``infra.token_keys`` reads
    them."""
    name = "TOKEN_KEYS_FILE" if file else "TOKEN_KEYS"
    try:
        return parse(Path(file).read_text(encoding="ascii") if file else text)
    except OSError as error:
        raise ImproperlyConfigured(f"TOKEN_KEYS_FILE cannot be read: {error.strerror}.") from None
    except ValueError as error:
        text = "must be ASCII" if isinstance(error, UnicodeError) else str(error)
        raise ImproperlyConfigured(f"{name} {text}.") from None


def franking_keys(text: str) -> dict[str, str]:
    """The keys of ``FRANKING_KEYS``: kid → secret, the first makes tags."""
    try:
        keys = parse(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"FRANKING_KEYS {error}.") from None
    if any(len(kid) > 64 or not kid.isascii() for kid in keys):
        raise ImproperlyConfigured("FRANKING_KEYS: a kid has at most 64 ASCII characters.")
    return keys


def local_franking_keys(secret_key: str) -> str:
    """``FRANKING_KEYS`` of a development checkout: made of its ``SECRET_KEY``, so that checkouts of before have them too."""
    return f"dev:{hmac.digest(secret_key.encode(), b'FRANKING_KEYS', 'sha256').hex()}"


def local_secrets(folder: Path) -> dict[str, str]:
    """Secrets of a development checkout, made once and kept in ``secrets.json`` (mode 600).

    Several processes start at the same moment: the file appears complete, by a link, and the first one wins.
    """
    path = folder / "secrets.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = {"SECRET_KEY": secrets.token_urlsafe(50), "TOKEN_KEYS": f"dev:{secrets.token_urlsafe(48)}"}
        draft = folder / f".secrets-{os.getpid()}-{secrets.token_hex(4)}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(made, file)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    try:
        stored: dict[str, str] = json.loads(path.read_text())
        return {"SECRET_KEY": stored["SECRET_KEY"], "TOKEN_KEYS": stored["TOKEN_KEYS"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ImproperlyConfigured(f"{path} cannot be read; delete it to have new secrets made.") from None
