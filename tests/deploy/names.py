"""A name server, as Docker and Kubernetes have one for the containers of a service: an address for each."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Self


class Names:
    """Answers questions for IPv4 addresses by the first label of the name (RFC 1035; other types and names get none), in a
    thread of its own."""

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        self._addresses = {
            name: [socket.inet_aton(one) for one in known] for name, known in addresses.items()
        }
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        self._socket.bind(("127.0.0.1", 0))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, source = self._socket.recvfrom(4_096)
            if not question:
                return
            self._socket.sendto(self._answer(question), source)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(0, 12) + 1
        kind = struct.unpack_from("!H", question, end)[0]
        label = question[13 : 13 + question[12]].decode().lower()
        found = self._addresses.get(label, []) if kind == 1 else []
        head = question[:2] + struct.pack("!HHHHH", 0x8580, 1, len(found), 0, 0)
        # 0xC00C: the name of the question, which begins at byte 12
        answers = [struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + one for one in found]
        return head + question[12 : end + 4] + b"".join(answers)
