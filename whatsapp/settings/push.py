"""The apps that notifications are sent for. ``PUSH_APPS`` names them; what each needs is in ``PUSH_<NAME>_…`` (docs/push.md).

``PUSH_APPS=ios,ios-dev,android,web`` and ``PUSH_IOS_DEV_PROVIDER=apns``: a dash of a name is an underscore in the variables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from notifications.senders.interface import PushApp
from whatsapp.settings import env

PROVIDERS: Final = ("apns", "fcm", "webpush")
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def read(names: list[str], variables: Mapping[str, str]) -> dict[str, PushApp]:
    """Raises ``ImproperlyConfigured``."""
    found: dict[str, PushApp] = {}
    for name in names:
        if not _NAME.fullmatch(name) or len(name) > 32:
            raise ImproperlyConfigured(
                f"PUSH_APPS: {name!r} is no name: lower case letters, digits and dashes."
            )
        prefix = f"PUSH_{name.upper().replace('-', '_')}_"
        others = [f"PUSH_{n.upper().replace('-', '_')}_" for n in names if n != name]
        options = {
            key.removeprefix(prefix).lower(): value
            for key, value in variables.items()
            if key.startswith(prefix) and not any(len(o) > len(prefix) and key.startswith(o) for o in others)
        }
        provider = options.pop("provider", "")
        if provider not in PROVIDERS:
            raise ImproperlyConfigured(f"{prefix}PROVIDER is one of {', '.join(PROVIDERS)}.")
        rate = _positive(prefix + "RATE", options.pop("rate", ""), PushApp._field_defaults["rate"])
        concurrency = _positive(
            prefix + "CONCURRENCY", options.pop("concurrency", ""), PushApp._field_defaults["concurrency"]
        )
        found[name] = PushApp(name, provider, options, rate, concurrency)
    return found


def _positive(variable: str, text: str, default: int) -> int:
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise ImproperlyConfigured(f"{variable} is a whole number from 1 to 1,000,000.")
    return int(text)


PUSH_APPS: Final = read(env.words("PUSH_APPS"), os.environ)
