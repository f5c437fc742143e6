"""Accounts: regions, tokens, text messages."""

from __future__ import annotations

import os

from whatsapp.settings import env

#: Home region of accounts and conversations made here, 0..1023 (ten bits of a conversation id).
HOME_REGION = env.number("HOME_REGION", 0)
#: From the end of an account until nothing of it may be left, days (``docs/data-protection.md``).
ERASURE_DUE_DAYS = env.number("ERASURE_DUE_DAYS", 90)
#: The operator's own page where a banned user can appeal, sent with ``banned``. Empty: the system's (``accounts/appeals.py``).
APPEAL_URL = os.environ.get("APPEAL_URL", "")
#: ``https://chat.example``, as people reach this system: addresses that are sent to them begin with it. Empty: they are paths.
PUBLIC_URL = os.environ.get("PUBLIC_URL", "").rstrip("/")

#: Of the terms that everybody agrees to who registers (``termsVersion``). Empty: nobody is asked.
TERMS_VERSION = os.environ.get("TERMS_VERSION", "").strip()
#: Names of what each may agree to besides, or not, as in ``diagnostics,newsletter``.
CONSENT_PURPOSES = env.words("CONSENT_PURPOSES")

ACCESS_TOKEN_MS = 3_600_000
REFRESH_TOKEN_MS = 90 * 86_400_000
#: A file with what TOKEN_KEYS holds, which goes before it; read again while the process runs when it changes.
TOKEN_KEYS_FILE = os.environ.get("TOKEN_KEYS_FILE", "")

#: +1555 and 4-7 digits, which are not valid E.164.
PHONE_TEST_NUMBERS = False
#: Dotted name of a class with ``send(to, body)``; see ``accounts/sms/senders.py``.
SMS_SENDER = os.environ.get("SMS_SENDER", "accounts.sms.NoSender")
#: Messages that a process sends at once; fewer than DATABASE_POOL, since each request holds a connection meanwhile.
SMS_AT_ONCE = env.number("SMS_AT_ONCE", 5)
#: Eleven characters that name the Android app to its SMS Retriever; empty: no such line.
SMS_APP_HASH = os.environ.get("SMS_APP_HASH", "")
#: Host name to which browsers and Apple's devices bind the code; empty: no such line.
SMS_DOMAIN = os.environ.get("SMS_DOMAIN", "")

# -- accounts.sms.smpp.SmppSender ------------------------------------------------------------------------------------------
#: Message centres, (host, port), in the order in which they are tried.
SMPP_HOSTS = env.addresses("SMPP_HOSTS", default_port=2775)
SMPP_SYSTEM_ID = os.environ.get("SMPP_SYSTEM_ID", "")
SMPP_PASSWORD = os.environ.get("SMPP_PASSWORD", "")
SMPP_SYSTEM_TYPE = os.environ.get("SMPP_SYSTEM_TYPE", "")
#: Sender that the message shows: a number, a short code, or up to eleven letters.
SMPP_SOURCE = os.environ.get("SMPP_SOURCE", "")
SMPP_TLS = env.flag("SMPP_TLS")
#: How long a request for a code may wait for the message centre, ms.
SMPP_TIMEOUT_MS = env.number("SMPP_TIMEOUT_MS", 8_000)
#: Messages of a process that are sent and not yet answered.
SMPP_WINDOW = env.number("SMPP_WINDOW", 10)

if SMS_SENDER == "accounts.sms.smpp.SmppSender":
    env.check_smpp(SMPP_HOSTS, SMPP_SYSTEM_ID, SMPP_PASSWORD, SMPP_SYSTEM_TYPE, SMPP_SOURCE)
