"""The environment of a system's processes: its secrets, the addresses of its parts, the development limits."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping

from devtools.errors import DevError
from devtools.paths import MARKER, REPO, DataFolder

#: Variables that switch a part from embedded to external, one by one.
URL_VARIABLES = ("DATABASE_URL", "HOT_URL", "BROKER_URL", "CACHE_URL")

#: Limits that hinder local work (names of ``whatsapp/infra/limits.py``). WHATSAPP_LIMITS of the caller goes over them.
DEVELOPMENT_LIMITS = {
    "registrations_per_ip_day": 100_000,
    "registration_tries_per_ip_day": 1_000_000,
    "registration_tries_per_network_day": 1_000_000,
    "otp_sends_per_hour": 1_000,
    "registrations_per_device_day": 100_000,
    "accounts_per_number_day": 1_000,
    "wrong_codes_per_day": 100_000,
    "wrong_codes_per_asker_day": 100_000,
    "wrong_codes_by_strangers_day": 100_000,
    "wrong_codes_per_address_day": 100_000,
    "wrong_codes_by_device_day": 100_000,
    "links_per_address_hour": 100_000,
    "link_approvals_per_day": 100_000,
    "contacts_per_hour": 100_000,
    "first_contacts_per_hour": 100_000,
    "first_contacts_per_day": 1_000_000,
    "contacts_per_day": 100_000,
    "contact_syncs_per_hour": 100_000,
    "contact_hashes_per_day": 10_000_000,
    "contacts_found_per_day": 100_000,
    "contacts_of_a_block_per_day": 100_000,
    "groups_per_hour": 100_000,
    "group_changes_per_hour": 1_000_000,
    "group_adds_per_day": 10_000_000,
    "group_invites_per_day": 100_000,
    "media_bytes_per_hour": 100 * 2**30,
    "media_large_bytes_per_day": 1_000 * 2**30,
    "media_open_uploads": 100_000,
    "media_uploads_of_one": 10_000,
    "messages_per_minute": 600_000,
    "frames_per_second": 100_000,
    "syncs_per_minute": 10_000,
    "typing_per_minute": 10_000,
    "typing_per_chat_10s": 1_000,
    "presence_per_minute": 10_000,
    "authentications_per_minute": 0,
    "unauthenticated_per_address": 2_000,
    "http_connections_per_address": 8_000,
    "http_requests_per_address": 10_000,
}


def load_secrets(data: DataFolder) -> dict[str, str]:
    """The secrets of this data folder, made once, in a file that only its owner can read."""
    try:
        known: dict[str, str] = json.loads(data.secrets.read_text())
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError) as error:
        raise DevError(
            f"{data.secrets} cannot be read ({error}); repair it, or ./dev reset deletes the data folder"
        ) from None
    made = {
        "SECRET_KEY": lambda: secrets.token_urlsafe(50),
        "TOKEN_KEYS": lambda: f"dev:{secrets.token_urlsafe(48)}",
        "FRANKING_KEYS": lambda: f"dev:{secrets.token_urlsafe(48)}",
        "POSTGRES_PASSWORD": lambda: secrets.token_hex(16),
        "VALKEY_PASSWORD": lambda: secrets.token_hex(16),
        "CASSANDRA_PASSWORD": lambda: secrets.token_hex(16),
        "S3_SECRET": lambda: secrets.token_hex(16),
    }
    missing = [name for name in made if name not in known]
    if missing:
        known.update({name: made[name]() for name in missing})
        draft = data.secrets.with_name(f".secrets-{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(known, file, indent=1)
        draft.replace(data.secrets)
    return known


def limits(caller: Mapping[str, str], extra: Mapping[str, int] | None = None) -> str:
    """WHATSAPP_LIMITS for the children: the development table, then ``extra``, then the caller's own."""
    try:
        own = json.loads(caller.get("WHATSAPP_LIMITS") or "{}")
        if not isinstance(own, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise DevError(f"WHATSAPP_LIMITS is not a JSON object: {error}") from None
    return json.dumps({**DEVELOPMENT_LIMITS, **(extra or {}), **own})


def base(data: DataFolder, caller: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every child gets, servers included: the caller's environment plus the marker that ``down`` looks for."""
    env = dict(os.environ if caller is None else caller)
    env[MARKER] = data.id
    for name in ("PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__", "NOTIFY_SOCKET"):
        env.pop(name, None)
    return env


def application(
    data: DataFolder,
    *,
    urls: Mapping[str, str],
    caller: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
    extra_limits: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """What gateways, workers, beat and ``migrate`` get. ``urls`` maps :data:`URL_VARIABLES`; ``overrides`` win over all."""
    env = base(data, caller)
    known = load_secrets(data)
    env.update(urls)
    env.update(
        {
            "DJANGO_SETTINGS_MODULE": "whatsapp.settings",
            "WHATSAPP_ENV": env.get("WHATSAPP_ENV") or "development",
            "WHATSAPP_DATA": str(data.root),
            "WHATSAPP_LIMITS": limits(env, extra_limits),
            "SECRET_KEY": env.get("SECRET_KEY") or known["SECRET_KEY"],
            "TOKEN_KEYS": env.get("TOKEN_KEYS") or known["TOKEN_KEYS"],
            "FRANKING_KEYS": env.get("FRANKING_KEYS") or known["FRANKING_KEYS"],
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPO), env.get("PYTHONPATH", "")])),
        }
    )
    if data.life.exists():
        env.setdefault("LOG_LIFE", data.life.read_text().strip())
    env.update(overrides or {})
    return env
