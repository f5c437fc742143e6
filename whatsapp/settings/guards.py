"""Guards of registration (docs/subsystems/registration-guards.md)."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured

from whatsapp.settings import env


def _one_of(name: str, default: str, *values: str) -> str:
    value = os.environ.get(name, "") or default
    if value not in values:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of {', '.join(values)}.")
    return value


#: Who has to solve something before a code is sent.
REGISTRATION_CHALLENGE = _one_of("REGISTRATION_CHALLENGE", "never", "never", "suspicious", "always")
#: Dotted name of a class (``accounts/guards/captcha.py``); empty: proof of work.
REGISTRATION_CAPTCHA = os.environ.get("REGISTRATION_CAPTCHA", "")
CAPTCHA_PROVIDER = os.environ.get("CAPTCHA_PROVIDER", "turnstile")  # for the client, which shows it
CAPTCHA_SITE_KEY = os.environ.get("CAPTCHA_SITE_KEY", "")
CAPTCHA_SECRET = os.environ.get("CAPTCHA_SECRET", "")
CAPTCHA_VERIFY_URL = os.environ.get(
    "CAPTCHA_VERIFY_URL", "https://challenges.cloudflare.com/turnstile/v0/siteverify"
)
#: Hosts on which it may have been solved; none: wherever.
CAPTCHA_HOSTNAMES = env.words("CAPTCHA_HOSTNAMES")
#: While the provider is away: ``closed`` sends no codes, ``open`` asks for nothing.
CAPTCHA_FAILS = _one_of("CAPTCHA_FAILS", "closed", "closed", "open")

#: Dotted name of a class (``accounts/guards/risk.py``); empty: nothing speaks against a number.
PHONE_RISK = os.environ.get("PHONE_RISK", "")
PHONE_RISK_FILE = os.environ.get("PHONE_RISK_FILE", "")
PHONE_RISK_URL = os.environ.get("PHONE_RISK_URL", "")
PHONE_RISK_TOKEN = os.environ.get("PHONE_RISK_TOKEN", "")
PHONE_RISK_FAILS = _one_of("PHONE_RISK_FAILS", "closed", "closed", "open")
#: Scores from which on a number is challenged, and refused.
PHONE_RISK_CHALLENGE = env.number("PHONE_RISK_CHALLENGE", 50)
PHONE_RISK_REFUSE = env.number("PHONE_RISK_REFUSE", 90)

#: How long a request for a code may wait for one of these services, ms, and how many of a process at once.
GUARD_TIMEOUT_MS = env.number("GUARD_TIMEOUT_MS", 3_000)
GUARD_AT_ONCE = env.number("GUARD_AT_ONCE", 4)

#: JSON file prefix → price of one message, in whole units of the operator's own (say, thousandths of a currency).
SMS_PRICES = os.environ.get("SMS_PRICES", "")

if REGISTRATION_CAPTCHA == "accounts.guards.captcha.SiteVerify" and not (CAPTCHA_SECRET and CAPTCHA_SITE_KEY):
    raise ImproperlyConfigured("SiteVerify needs CAPTCHA_SECRET and CAPTCHA_SITE_KEY.")
if PHONE_RISK == "accounts.guards.risk.HttpRisk" and not (PHONE_RISK_URL and PHONE_RISK_TOKEN):
    raise ImproperlyConfigured("HttpRisk needs PHONE_RISK_URL and PHONE_RISK_TOKEN.")
