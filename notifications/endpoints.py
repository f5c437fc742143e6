"""Which endpoints of Web Push (RFC 8030) may be asked. A client names the address, and our servers go there: so it is one of a
list of hosts (OWASP, "Server Side Request Forgery Prevention", case 1). What a name resolves to is checked where it is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MAX_LENGTH: Final = 2_048
#: The push services of Chrome and Edge on Android, Firefox, Safari, and Edge.
KNOWN_HOSTS: Final = (
    "fcm.googleapis.com",
    "*.push.services.mozilla.com",
    "*.push.apple.com",
    "*.notify.windows.com",
)
#: As browsers write it, in characters that every program reads alike: no user, no fragment, no backslash, no other alphabet.
PATTERN: Final = r"^https://(?:[a-z0-9.-]+|\[::1\])(?::[0-9]{1,5})?/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$"
_PARTS: Final = re.compile(r"https://(?P<host>[a-z0-9.-]+|\[::1\])(?::(?P<port>[0-9]{1,5}))?/.*")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
#: A public name: two labels or more, and the last one begins with a letter (no IPv4 address does, however it is written).
_PUBLIC: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_INSIDE: Final = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".in-addr.arpa", ".ip6.arpa")


def refusal(endpoint: str, options: Mapping[str, str]) -> str:
    """Why an endpoint is not asked, "" if it may be.

    ``options`` of the app: ``hosts``, separated by commas, each ``host`` (port 443), ``host:port``, ``*.domain`` (any name below
    it) or ``*`` (any public name), without it :data:`KNOWN_HOSTS`; ``loopback`` ``1``: also this machine, for development.
    """
    if len(endpoint) > MAX_LENGTH or not re.fullmatch(PATTERN, endpoint):
        return "must be an https address, as the browser gives it"
    parts = _PARTS.fullmatch(endpoint)
    assert parts is not None  # PATTERN is narrower
    host, port = parts["host"], int(parts["port"] or 443)
    if host in _LOOPBACK:
        return "" if options.get("loopback") == "1" else "is not at a host that is allowed here"
    if not _PUBLIC.fullmatch(host) or host.endswith(_INSIDE):
        return "is not at a public host"
    hosts = [word.strip().lower() for word in options.get("hosts", "").split(",") if word.strip()]
    if any(_fits(host, port, allowed) for allowed in hosts or KNOWN_HOSTS):
        return ""
    return "is not at a host that is allowed here"


def _fits(host: str, port: int, allowed: str) -> bool:
    name, _, allowed_port = allowed.partition(":")
    if port != int(allowed_port or 443):
        return False
    if name == "*":
        return True
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
