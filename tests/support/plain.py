"""Clients of plain HTTP, without the authorities that httpx reads anew for each client: a third of all that tests did."""

from __future__ import annotations

import ssl
from functools import partial

import httpx

#: Trusts nobody; nothing of ``https://`` may be asked through it.
_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

#: As httpx's, which take the same arguments; proxies of the environment are not used.
AsyncClient = partial(httpx.AsyncClient, verify=_NOBODY, trust_env=False)
Client = partial(httpx.Client, verify=_NOBODY, trust_env=False)
