"""TCP connections that change processes: from a gateway, which has read the beginning of a request, to an ``api`` process.

All gateways of a machine share the public port, so an upload comes to any of them. A gateway that sees from the first bytes
of a request that it is about a file sends the connection on, over a Unix socket in the data folder: the descriptor
(``SCM_RIGHTS``, unix(7)) and, in a file of memory, what was read from it. The client notices nothing: two processes have
the connection for a moment, and closing one of two descriptors sends nothing.

One datagram is one connection. Nothing waits: where nobody listens, or who does has too many waiting
(``net.unix.max_dgram_qlen``), the gateway serves the request itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from whatsapp.infra import metrics

log = logging.getLogger(__name__)

#: What a datagram says besides its two descriptors: which form this is.
_FORM: Final = b"1"
#: More than a transport of asyncio or uvloop reads at once (256 KiB).
_MOST_BYTES: Final = 2**20
#: Connections that are taken in one turn of the loop.
_AT_ONCE: Final = 16
#: Two descriptors in a control message (cmsg(3)). Python's ``send_fds`` and ``recv_fds`` pass neither flags nor an address on.
_TWO: Final = struct.Struct("ii")


def folder(data: Path) -> Path:
    """Where the sockets of a machine's ``api`` processes are."""
    return data / "run" / "api"


class Giver:
    """Of a gateway. Knows nothing between two calls: who listens is what is in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def give(self, connection: int, read: bytes) -> bool:
        """Send a connection (its descriptor) on. Whether another process has it now; never waits, never raises."""
        try:
            place = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            kind = self._give(place, connection, read)
        except OSError as error:
            log.warning("a connection could not be handed over: %s", error.strerror)
            kind = "failed"
        finally:
            os.close(place)
        metrics.count("handed_over", kind)
        return kind == "given"

    def _give(self, place: int, connection: int, read: bytes) -> str:
        state = os.fstat(place)
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            return "failed"  # others could listen there
        names = os.listdir(f"/proc/self/fd/{place}")
        if not names:
            return "nobody"
        random.shuffle(names)
        kind = "nobody"
        memory = os.memfd_create("request", os.MFD_CLOEXEC)
        try:
            os.write(memory, read)
            for name in names:
                # By the folder's descriptor: the address of a Unix socket has room for 107 bytes.
                address = f"/proc/self/fd/{place}/{name}"
                try:
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _TWO.pack(connection, memory))
                    self._socket.sendmsg([_FORM], [rights], 0, address)
                except BlockingIOError:
                    kind = "full"
                except ConnectionRefusedError:
                    # Killed. No name is used twice, so nobody else's is deleted.
                    os.unlink(name, dir_fd=place)
                except FileNotFoundError:
                    continue  # it ended meanwhile
                else:
                    return "given"
        finally:
            os.close(memory)
        return kind


class Taker:
    """Of an ``api`` process: listens, and has ``take`` called with each connection and what was read from it."""

    def __init__(self, folder: Path, name: str, take: Callable[[socket.socket, bytes], None]) -> None:
        self._folder = folder
        self._path = folder / f"{name}.{secrets.token_hex(4)}"
        self._take = take
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """On the running loop. Raises ``OSError`` where no socket can be made."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        place = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        try:
            os.fchmod(listener.fileno(), 0o600)  # before it has a name
            listener.bind(f"/proc/self/fd/{place}/{self._path.name}")
        except OSError:
            listener.close()
            raise
        finally:
            os.close(place)
        self._socket = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._ready)

    def close(self) -> None:
        """Nobody sends any more; what was sent is taken."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._path.unlink(missing_ok=True)
        while self._next():
            pass
        self._socket.close()
        self._socket = None

    def _ready(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._next():
                return

    def _next(self) -> bool:
        """Take one. Whether there was one."""
        assert self._socket is not None
        try:
            form, controls, _, _ = self._socket.recvmsg(
                16, socket.CMSG_LEN(_TWO.size), socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            log.warning("a connection could not be taken: %s", error.strerror)
            return False
        descriptors = [one for *_, data in controls for (one,) in struct.iter_unpack("i", data)]
        try:
            if form == _FORM and len(descriptors) == 2:
                read = _read(descriptors[1])
                connection = _connection(descriptors[0]) if read is not None else None
                if connection is not None and read is not None:
                    descriptors.pop(0)  # the socket's own now
                    metrics.count("handed_over", "taken")
                    self._take(connection, read)
                    return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        metrics.count("handed_over", "refused")
        return True


def _read(descriptor: int) -> bytes | None:
    """What is in a file of memory; None if it is something else, or too much."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_size > _MOST_BYTES:
        return None
    return os.pread(descriptor, _MOST_BYTES, 0)


def _connection(descriptor: int) -> socket.socket | None:
    """A TCP connection; None, and the descriptor is as it was, if it is anything else."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        if (
            found.family in (socket.AF_INET, socket.AF_INET6)
            and found.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
            and not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            found.getpeername()
            found.setblocking(False)
            return found
    except OSError:
        pass  # its client has gone
    found.detach()
    return None
