"""Which of several servers is the primary, and when it is not any more.

A server that hangs sends no reset: the kernel of its machine still answers keepalives, a switch drops what a dead one would have
said, and ``statement_timeout`` is the server's own. And one that hung, was replaced and wakes up takes itself for the primary
still. So where ``DATABASE_URL`` names several servers, each has to prove that it is the primary by a commit, which by
``synchronous_standby_names`` waits for a standby: when a connection to it is made, and every second on a connection of each
process's own. No proof within :data:`PROOF_S`, and all connections of this process to that server end, those that wait for an
answer and those that wait in pools; new ones go to the server that can prove it.

So nothing is read from a server later than ``EVERY_S + PROOF_S`` after the last standby has left it. Who promotes a standby while
the old primary may still live takes all standbys away from it first, and waits longer than that (docs/postgresql.md).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Generator
from typing import Any, Final, Self

import psycopg
from psycopg import generators, pq

from whatsapp.infra import metrics

log = logging.getLogger(__name__)

EVERY_S: Final = 1.0
PROOF_S: Final = 5.0
#: A guard without connections to guard ends.
IDLE_S: Final = 10.0

#: The server's timeline, and a record of the log that is committed and has no other effect. Without synchronous replication a
#: commit would prove nothing; the timeline, which goes up at each promotion, still tells the old primary from the new.
_PROOF: Final = (
    b"SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END,"
    b" CASE WHEN current_setting('synchronous_standby_names') <> '' AND NOT pg_is_in_recovery()"
    b" THEN pg_logical_emit_message(true, 'primary', '') END"
)

Server = tuple[str, str]  # host, port


def _prove(pgconn: Any) -> Generator[Any, Any, None]:
    """Ask a server for a proof; ends when it has given it. Raises what psycopg raises."""
    pgconn.send_query(_PROOF)
    (result,) = yield from generators.execute(pgconn)
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise psycopg.errors.error_from_result(result)
    guard.heard((result.get_value(0, 0) or b"").decode())


class _Proven:
    """Mixed into psycopg's classes of connections: one is only made to a server that has proven itself, within the time that
    connecting may take. A server that is not the one that proved itself a moment ago is not tried."""

    pgconn: Any

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Self]:
        named = psycopg.conninfo.conninfo_to_dict(conninfo)
        server = (str(named.get("host", "")), str(named.get("port", "")))
        if guard.elsewhere(server) or guard.owes(server):
            raise psycopg.OperationalError(f"{':'.join(server)} is not the primary")
        # A little less than psycopg's own patience, whose end this would only learn when the exception is forgotten.
        deadline = time.monotonic() + float(named.get("connect_timeout") or PROOF_S) - 0.3
        try:
            connection: Self = yield from super()._connect_gen(conninfo)  # type: ignore[misc]
            try:
                proof = _prove(connection.pgconn)
                step = next(proof)
                while True:
                    ready = yield connection.pgconn.socket, step  # comes back every 0.1 s
                    if time.monotonic() > deadline:
                        guard.owed(server, connection.pgconn)
                        raise psycopg.errors.ConnectionTimeout("no proof that it is the primary")
                    step = proof.send(ready)
            except StopIteration:
                pass
            except psycopg.errors.ConnectionTimeout:
                raise
            except BaseException:
                connection.pgconn.finish()
                raise
        except BaseException:
            guard.refused(server)
            raise
        guard.made(server, connection)
        return connection


class Connection(_Proven, psycopg.Connection[Any]):
    """Of Django's pools."""


class AsyncConnection(_Proven, psycopg.AsyncConnection[Any]):
    """Of the pools of gateways and the sweep."""


class _Made:
    """A connection that was made: its socket's number, and to whom it leads."""

    def __init__(self, server: Server, connection: Any) -> None:
        self.server = server
        self.connection = weakref.ref(connection)
        self.number: int = connection.pgconn.socket
        self.peer = _peer(self.number)

    @property
    def lives(self) -> bool:
        connection = self.connection()
        return connection is not None and not connection.closed

    def end(self) -> None:
        """As if the server had closed it. The number may belong to another socket by now, but not to one with the same peer."""
        try:
            own = socket.socket(fileno=os.dup(self.number))
        except OSError:
            return
        with own:
            try:
                if own.getpeername() == self.peer:
                    own.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _peer(number: int) -> Any:
    with socket.socket(fileno=os.dup(number)) as own:
        return own.getpeername()


class Guard:
    """One a process, safe to use from all threads. Its own thread runs while there are connections."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._made: list[_Made] = []
        self._current: Server | None = None
        self._proven_at = 0.0
        self._timeline = ""
        self._owed: dict[Server, Any] = {}
        self._thread: threading.Thread | None = None
        self._conninfo = ""

    def start(self, conninfo: str) -> None:
        """What is to be guarded: a connection string that names several servers."""
        self._conninfo = conninfo

    @property
    def current(self) -> Server | None:
        """The server that has proven itself last, if nothing speaks against it since."""
        return self._current

    def elsewhere(self, server: Server) -> bool:
        """Whether another one was the primary a moment ago."""
        fresh = time.monotonic() - self._proven_at < 2 * EVERY_S + PROOF_S
        return fresh and self._current is not None and self._current != server

    def heard(self, timeline: str) -> None:
        """A server says on which timeline it writes. Raises ``OperationalError`` if there is a later one."""
        with self._lock:
            if timeline and timeline < self._timeline:
                raise psycopg.OperationalError("the server was replaced by another one")
            self._timeline = max(timeline, self._timeline)

    def refused(self, server: Server) -> None:
        """It could not be reached, or proved nothing: nobody knows who is the primary."""
        if self._current == server:
            self._current = None

    def owed(self, server: Server, pgconn: Any) -> None:
        """A proof did not come in time. Who ends such a connection leaves a session at the server that waits for a standby for
        ever; so one is kept, and no other is made until it is answered."""
        with self._lock:
            if server in self._owed:
                pgconn.finish()
            else:
                self._owed[server] = pgconn

    def owes(self, server: Server) -> bool:
        """Whether a proof is still awaited there."""
        with self._lock:
            pgconn = self._owed.get(server)
            if pgconn is None:
                return False
            try:
                pgconn.consume_input()
                if pgconn.is_busy():
                    return True
            except psycopg.OperationalError:
                pass  # it has died
            pgconn.finish()
            del self._owed[server]
            return False

    def made(self, server: Server, connection: Any) -> None:
        """A connection to it has been made, and it has proven itself."""
        with self._lock:
            self._made = [one for one in self._made if one.lives]
            self._made.append(_Made(server, connection))
            former, self._current = self._current, server
            self._proven_at = time.monotonic()
            if self._conninfo and self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="primary", daemon=True)
                self._thread.start()
        if former != server:
            self._leave(server)

    def _leave(self, server: Server) -> None:
        """End what leads to any other server than this one."""
        with self._lock:
            others = [one for one in self._made if one.server != server]
            self._made = [one for one in self._made if one.server == server]
        for one in others:
            one.end()

    def give_up(self, server: Server) -> None:
        """It does not prove that it is the primary: end all connections to it."""
        log.warning("%s:%s does not prove that it is the primary; its connections end", *server)
        metrics.PRIMARY_LOST.add()
        self.refused(server)
        with self._lock:
            lost = [one for one in self._made if one.server == server]
            self._made = [one for one in self._made if one.server != server]
        for one in lost:
            one.end()

    # its thread

    def _watch(self) -> None:
        own: Connection | None = None
        idle_since = time.monotonic()
        while True:
            with self._lock:
                self._made = [one for one in self._made if one.lives]
                if len(self._made) > (own is not None and not own.closed):
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > IDLE_S:
                    self._thread = None
                    break
            own = self._look(own)
            time.sleep(EVERY_S)
        if own is not None:
            own.close()

    def _look(self, own: Connection | None) -> Connection | None:
        """Ask for one proof. Returns the connection for the next one."""
        server, began = self._current, time.monotonic()
        try:
            if own is None or own.closed:
                return Connection.connect(self._conninfo, autocommit=True, connect_timeout=int(PROOF_S))
            own.wait(_prove(own.pgconn), timeout=PROOF_S)
            self._proven_at = began
            return own
        except psycopg.errors.TooManyConnections:
            return None  # it answers
        except Exception as error:
            log.info("no proof from the primary: %s", type(error).__name__)
            if own is not None and server is not None and isinstance(error, psycopg.errors._WaitTimeout):
                self.owed(server, own.pgconn)
            elif own is not None:
                own.pgconn.finish()
            # Of a server that has died everybody hears at once; its connections may also just have been ended by somebody.
            if server is not None and time.monotonic() - self._proven_at > PROOF_S:
                self.give_up(server)
            return None


guard: Final = Guard()


def several(parameters: dict[str, Any]) -> bool:
    """Whether what libpq is told names several servers, of which one has to prove that it is the primary."""
    return "," in str(parameters.get("host", ""))
