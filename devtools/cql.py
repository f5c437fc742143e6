"""Just enough of the CQL protocol (version 4) to ask a node whether it answers and to run a statement, without a driver."""

from __future__ import annotations

import socket
import ssl
import struct
from types import TracebackType
from typing import Self

from devtools.errors import DevError

_REQUEST, _HEADER = 4, 9
_ERROR, _STARTUP, _READY, _AUTHENTICATE, _QUERY, _RESULT = 0x00, 0x01, 0x02, 0x03, 0x07, 0x08
_AUTH_RESPONSE, _AUTH_SUCCESS = 0x0F, 0x10
_ROWS = 2
ONE, QUORUM = 0x0001, 0x0004

Row = tuple[bytes | None, ...]


_BAD_CREDENTIALS = 0x0100


class CqlError(DevError):
    """What the server answered, or why it did not."""


class NotLoggedIn(CqlError):
    """The server is there, and does not know the user or the password."""


class Cql:
    """One connection. Raises :class:`CqlError` from every method when the server refuses or is not there."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        user: str = "",
        password: str = "",
        timeout: float = 10.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._where = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout)
            if tls:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        except OSError as error:
            raise CqlError(f"no Cassandra at {self._where}: {error}") from None
        try:
            options = struct.pack(">H", 1) + _text("CQL_VERSION") + _text("3.0.0")
            opcode, _ = self._ask(_STARTUP, options)
            if opcode == _AUTHENTICATE:
                token = b"\0" + user.encode() + b"\0" + password.encode()
                opcode, _ = self._ask(_AUTH_RESPONSE, struct.pack(">i", len(token)) + token)
            if opcode not in (_READY, _AUTH_SUCCESS):
                raise CqlError(f"Cassandra at {self._where} answered with opcode {opcode} to STARTUP")
        except BaseException:
            self.close()
            raise

    def run(self, statement: str, *, consistency: int = ONE) -> list[Row]:
        """The rows, their values as bytes (``None`` for null); empty for a statement without rows."""
        text = statement.encode()
        opcode, body = self._ask(
            _QUERY, struct.pack(">i", len(text)) + text + struct.pack(">HB", consistency, 0)
        )
        if opcode != _RESULT or struct.unpack_from(">i", body)[0] != _ROWS:
            return []
        return _rows(body)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, opcode: int, body: bytes) -> tuple[int, bytes]:
        try:
            self._socket.sendall(struct.pack(">BBhBi", _REQUEST, 0, 0, opcode, len(body)) + body)
            _, _, _, answered, length = struct.unpack(">BBhBi", self._read(_HEADER))
            content = self._read(length)
        except (OSError, EOFError, struct.error) as error:
            raise CqlError(f"Cassandra at {self._where} did not answer: {error}") from None
        if answered == _ERROR:
            code, size = struct.unpack_from(">iH", content)
            kind = NotLoggedIn if code == _BAD_CREDENTIALS else CqlError
            raise kind(f"Cassandra at {self._where}: {content[6 : 6 + size].decode('utf-8', 'replace')}")
        return answered, content

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                raise EOFError("the connection was closed")
            found += part
        return found


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def _rows(body: bytes) -> list[Row]:
    """The values of a RESULT of kind Rows, past its metadata (section 4.2.5.2 of the protocol's specification)."""
    flags, count = struct.unpack_from(">ii", body, 4)
    at = 12
    if flags & 2:  # a paging state
        (size,) = struct.unpack_from(">i", body, at)
        at += 4 + max(0, size)
    if flags & 1:  # the table once for all columns
        at = _skip_text(body, _skip_text(body, at))
    for _ in range(count):
        if not flags & 1:
            at = _skip_text(body, _skip_text(body, at))
        at = _skip_type(body, _skip_text(body, at))
    (rows,) = struct.unpack_from(">i", body, at)
    at += 4
    found = []
    for _ in range(rows):
        row: list[bytes | None] = []
        for _ in range(count):
            (size,) = struct.unpack_from(">i", body, at)
            at += 4
            row.append(None if size < 0 else body[at : at + size])
            at += max(0, size)
        found.append(tuple(row))
    return found


def _skip_text(body: bytes, at: int) -> int:
    (size,) = struct.unpack_from(">H", body, at)
    return at + 2 + int(size)


def _skip_type(body: bytes, at: int) -> int:
    (kind,) = struct.unpack_from(">H", body, at)
    at += 2
    if kind == 0x0000:  # custom: a class name
        return _skip_text(body, at)
    if kind in (0x0020, 0x0022):  # list, set
        return _skip_type(body, at)
    if kind == 0x0021:  # map
        return _skip_type(body, _skip_type(body, at))
    return at
