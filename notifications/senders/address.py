"""Where a POST goes to: an ``https`` address taken apart for HTTP/2 (RFC 9113 section 8.3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


class Address:
    """``url``: with its path. Raises ``ValueError`` unless it is ``https`` with a host."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username is not None:
            raise ValueError("no https address.")
        self.host = parts.hostname
        self.port = parts.port or 443
        self._head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self.host if self.port == 443 else f"{self.host}:{self.port}"),
            (":path", parts.path or "/"),
        ]

    def post(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers of a request; names in lower case."""
        return [*self._head, *headers.items()]
