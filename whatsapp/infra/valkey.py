"""A small Valkey client for the message path: pipelines over one connection, hiredis for parsing, no task per command.

redis-py costs 10-17 us a pipelined command here, this 2-3 (``docs/subsystems/engine.md``). It speaks RESP2 over TCP, TLS
(``rediss://``) or a unix socket. Everything that is not on the message path uses redis-py.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

#: No answer for this long: the connection is given up and every waiting command fails.
ANSWER_TIMEOUT_S = 3.0

#: Error replies of a node that cannot serve now.
AWAY = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "MISCONF", "OOM")

Command = tuple[Any, ...]


class HotUnavailable(Exception):
    """The hot node did not answer. Whether the commands took effect is unknown; all of ours may be repeated."""


class BadUrl(Exception):
    """A URL of a Valkey server that cannot be one."""


class Address:
    """Where a Valkey server is, from ``redis[s]://[user:password@]host:port[/db]`` or ``unix:///path[?db=n]``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "valkey", "valkeys", "unix"):
            raise BadUrl(
                "it is no redis://, rediss:// or unix:// address"
            )  # never the URL: it holds a password
        self.path = parts.path if parts.scheme == "unix" else ""
        try:
            self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 6379
        except ValueError:
            raise BadUrl("its host or port cannot be read") from None
        self.tls = ssl.create_default_context() if parts.scheme in ("rediss", "valkeys") else None
        self.greeting: list[Command] = []
        if parts.password:
            user = [unquote(parts.username)] if parts.username else []
            self.greeting.append(("AUTH", *user, unquote(parts.password)))
        database = parse_qs(parts.query).get("db", [""])[0] if self.path else parts.path.strip("/")
        if database and database != "0":
            self.greeting.append(("SELECT", database))


class Connection(asyncio.Protocol):
    """One connection. Commands are answered in order; ``on_push`` gets what a subscription delivers."""

    def __init__(
        self, on_lost: Callable[[Connection], None], on_push: Callable[[list[Any]], None] | None = None
    ) -> None:
        self._on_lost = on_lost
        self._on_push = on_push
        self._reader = hiredis.Reader(replyError=hiredis.ReplyError)
        self._waiting: collections.deque[tuple[int, list[Any], asyncio.Future[list[Any]], float]] = (
            collections.deque()
        )
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()

    @classmethod
    async def open(
        cls,
        address: Address,
        on_lost: Callable[[Connection], None],
        on_push: Callable[[list[Any]], None] | None = None,
    ) -> Connection:
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if address.path:
                    _, connection = await loop.create_unix_connection(
                        lambda: cls(on_lost, on_push), address.path
                    )
                else:
                    _, connection = await loop.create_connection(
                        lambda: cls(on_lost, on_push), address.host, address.port, ssl=address.tls
                    )
                for answer in await connection.run(address.greeting) if address.greeting else ():
                    if isinstance(answer, Exception):
                        raise HotUnavailable(str(answer))
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, OSError | TimeoutError):
                raise HotUnavailable(str(error) or "timed out") from None
            raise
        return connection

    @property
    def alive(self) -> bool:
        return self._transport is not None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._on_push is not None:
            self._heard = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        error = HotUnavailable("the connection to the hot node was lost")
        while self._waiting:
            future = self._waiting.popleft()[2]
            if not future.done():
                future.set_exception(error)
        self._on_lost(self)

    # commands

    def run(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send the commands in one write. The result has one entry per command; an error reply is an exception *in* it."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self._transport is None:
            future.set_exception(HotUnavailable("not connected to the hot node"))
        elif not commands:
            future.set_result([])
        else:
            pack = hiredis.pack_command
            self._waiting.append((len(commands), [], future, self._loop.time() + ANSWER_TIMEOUT_S))
            self._transport.write(b"".join([pack(command) for command in commands]))
        return future

    def write(self, command: Command) -> None:
        """Send a command whose answer arrives as a push (subscriptions)."""
        if self._transport is not None:
            self._transport.write(hiredis.pack_command(command))

    def check(self) -> None:
        """Give the connection up if its oldest command has waited too long; a subscription, which sends none, is asked for a
        sign of life. Called every second by the owner."""
        now = self._loop.time()
        if self._waiting and self._waiting[0][3] < now:
            self.close()
        elif self._on_push is not None:
            if self._heard + ANSWER_TIMEOUT_S < now:
                self.close()
            else:
                self.write(("PING",))

    @property
    def waits_s(self) -> float:
        """How long the oldest command without an answer has been sent."""
        if not self._waiting:
            return 0.0
        return ANSWER_TIMEOUT_S - (self._waiting[0][3] - self._loop.time())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _take(self, reply: Any) -> None:
        if self._on_push is not None and isinstance(reply, list) and not self._waiting:
            self._on_push(reply)
            return
        if not self._waiting:
            return
        count, replies, future, _ = self._waiting[0]
        replies.append(reply)
        if len(replies) == count:
            self._waiting.popleft()
            if not future.done():
                future.set_result(replies)


class Script:
    """A Lua script. The cache of a node is neither persisted nor replicated, so ``NOSCRIPT`` falls back to the text; every
    script of ours may run twice."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], args: Sequence[Any]) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


class Valkey:
    """The process's connection to the hot node: reconnects by itself, never queues while it is away.

    ``on_connect`` is awaited for every new connection before anybody may use it; if it raises, the connection is dropped
    and tried again.
    """

    def __init__(self, url: str | Address) -> None:
        self.address = Address(url) if isinstance(url, str) else url
        self.scripts: dict[str, Script] = {}
        self.on_connect: Callable[[Connection], Any] | None = None
        self.on_push: Callable[[list[Any]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._connection: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def waits_s(self) -> float:
        """How long the oldest command without an answer has been sent, 0 without a connection."""
        return self._connection.waits_s if self._connection is not None else 0.0

    async def start(self, *, wait: bool = False) -> None:
        """Begin to keep a connection. With ``wait`` the first attempt is made here and its failure raised."""
        if wait:
            await self._connect()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def add_script(self, script: Script) -> Script:
        self.scripts[script.sha] = script
        return script

    def write(self, command: Command) -> None:
        if self._connection is not None:
            self._connection.write(command)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run a pipeline. Raises :class:`HotUnavailable`, or ``hiredis.ReplyError`` for the first error reply."""
        connection = self._connection
        if connection is None:
            raise HotUnavailable("not connected to the hot node")
        replies = await connection.run(commands)
        for index, reply in enumerate(replies):
            if isinstance(reply, Exception):
                command = commands[index]
                if command[0] != "EVALSHA" or not str(reply).startswith("NOSCRIPT"):
                    if str(reply).startswith(AWAY):
                        raise HotUnavailable(str(reply))
                    raise reply
                text = self.scripts[command[1]].text
                (replies[index],) = await connection.run([("EVAL", text, *command[2:])])
                if isinstance(replies[index], Exception):
                    raise replies[index]
        return replies

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """A pipeline whose error replies are the caller's. Raises :class:`HotUnavailable`."""
        connection = self._connection
        if connection is None:
            raise HotUnavailable("not connected to the hot node")
        return connection.run(commands)

    async def _connect(self) -> None:
        address = self.address
        connection = await Connection.open(address, self._lost, self.on_push)
        if self.on_connect is not None:
            try:
                await self.on_connect(connection)
            except BaseException:
                connection.close()
                raise
        if not connection.alive:
            raise HotUnavailable("the connection was lost at once")
        if address is not self.address:
            connection.close()
            raise HotUnavailable("it is to be somewhere else by now")
        self._connection = connection

    def drop(self) -> None:
        """Give the present connection up and make another one."""
        if self._connection is not None:
            self._connection.close()

    def _lost(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
            if self.on_lost is not None:
                self.on_lost()
            self._wake.set()

    async def _keep(self) -> None:
        delay = 0.05
        while True:
            if self._connection is not None:
                self._connection.check()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._wake.wait()
                self._wake.clear()
                delay = 0.05
                continue
            try:
                await self._connect()
            except (HotUnavailable, hiredis.ReplyError):
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
