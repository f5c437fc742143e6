"""The client: one device that stays connected, keeps its messages until ✓ and its conversations in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import urllib.parse
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import events as ev
from .account import Account
from .bans import describe
from .codecs import JSON, Codec, Frame
from .connection import Connection
from .database import Database
from .duties import Duties, Timing
from .entry import whole
from .errors import Closed, DatabaseBroken, DatabaseInUse, RestError, Stopped, Unreachable
from .files import Files
from .inbound import Inbound, no_member, now
from .link import Linked
from .lookups import Lookups
from .media import Media
from .notified import Notified
from .outgoing import CHANGES, Outgoing
from .own_data import OwnData
from .people import People
from .reporting import Reporting
from .retry import REASONS, Backoff, Retry, after_close
from .session import Session
from .stream import Broadcast, EventStream
from .tokens import Tokens

_log = logging.getLogger(__name__)

#: A connection that lived this long was good: the next failure starts the delays from the beginning.
GOOD_AFTER = 5.0
STALLED = 60.0  # a socket that takes nothing for so long is dead
PARTING = 1.0  # for the last acks when the application stops the client
LATER = 5.0  # least delay after a code that says we did something wrong
NO_SLOT = 0.5  # least delay after 1012 or 1013 without a `reconnect` before it


def socket_url(url: str) -> str:
    """``ws://host/ws`` of ``http://host``."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(
        ("wss" if parts.scheme in ("https", "wss") else "ws", parts.netloc, "/ws", "", "")
    )


def refusal(frame: Frame, why: str) -> Frame:
    """What a server would say to a frame that is no frame."""
    ids = {name: frame.get(name) for name in ("ref", "messageId")}
    return {"type": "error", "code": "bad_request", "message": why, "retryable": False, **ids}


class Client(Reporting, People, Linked, Account, OwnData, Notified, Files):
    """A device of one user.

    ``url``: ``http://host:port``. ``database``: what this device has and wants to send, kept over restarts;
    without one it is in memory. The caller closes it, after the client has stopped. ``on_session``: called
    with the session whenever its tokens change, to be saved before anything else happens.
    ``async with Client(url, session) as client`` connects and keeps the connection until the end of the block;
    nothing waits for the network: :meth:`send` only queues. Errors that end the client for good are its last
    :class:`events.State`.
    """

    def __init__(
        self,
        url: str,
        session: Session,
        *,
        database: Database | None = None,
        codec: Codec = JSON,
        on_session: Callable[[Session], None] | None = None,
        timing: Timing | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__(url, session, database if database is not None else Database())
        self._tokens = Tokens(session, self.rest, on_session)
        self.rest.renew = self._tokens.renew
        self.state = ev.State("connecting")
        self.connects = 0
        self._url = socket_url(url)
        self._codec = codec
        self._duties = Duties(
            self.history, timing, since=int(self.database.get("since", "0")), told=self._told_read
        )
        for conversation_id, up_to in self._chats.untold().items():
            self._duties.read(conversation_id, up_to)
        self._backoff = backoff or Backoff()
        self._broadcast = Broadcast()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._online = asyncio.Event()
        self.media = Media(self.rest, self.database, self._backoff.fresh, self._online.is_set)
        self._ended = asyncio.Event()
        self._lookups = Lookups(self._look_up)
        self._asking: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._inbound = Inbound(
            session, self.history, self.outbox, self._chats, self._duties, self._broadcast, self._wake, self._progress,
            look_up=self._lookups.want, renumbered=lambda: self._tokens_changed(),
            media_told=self.media.told,
        )  # fmt: skip

    # -- life ----------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Begin to connect (again, after :meth:`stop`: history, positions and outbox are kept). Raises
        :class:`DatabaseInUse`."""
        if self._task is None:
            if self.database.on_commit is not None:
                raise DatabaseInUse("another client of this process has this database")
            self._ended.clear()
            self.database.on_commit, self.database.on_broken = self._committed, self._broken
            self.database.on_later = self.keeper.wake
            self.database.commit()  # what was queued before there was an event loop
            self._task = asyncio.create_task(self._run(), name=f"client {self.session.phone_number}")
            for conversation_id in self._chats.groups.incomplete():
                self._lookups.want(conversation_id)
            self._asking = asyncio.create_task(self._lookups.run(self._online))
            self._keeping = asyncio.create_task(self.keeper.run())

    async def stop(self) -> None:
        """Close the socket and stop. What has no ✓ stays in the outbox."""
        tasks, self._task, self._asking, self._keeping = (
            (self._task, self._asking, self._keeping),
            None,
            None,
            None,
        )
        await self._part()
        for task in filter(None, tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(DatabaseBroken):
            self.database.commit()
        await self._finish(ev.State("stopped", "by the application"))
        if self.database.on_commit == self._committed:
            self.database.on_commit = self.database.on_broken = self.database.on_later = None

    async def _part(self) -> None:
        """Acknowledge what came in the last moment."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(Closed, DatabaseBroken, TimeoutError):
                frames = self._duties.parting(now())
                self.database.commit()
                async with asyncio.timeout(PARTING):
                    for frame in frames:
                        await connection.send(frame)

    async def __aenter__(self) -> Client:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def wait_online(self, timeout: float | None = 30.0) -> None:
        """Wait until a sync is complete. Raises TimeoutError, or :class:`Stopped` when that will not
        happen."""
        async with asyncio.timeout(timeout):
            waits = [asyncio.create_task(event.wait()) for event in (self._online, self._ended)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if not self._online.is_set():
            raise Stopped(self.state.detail)

    def events(self) -> EventStream:
        """Everything that happens from now on, for ``async for``."""
        return self._broadcast.stream()

    @property
    def connection(self) -> Connection | None:
        """The socket, while there is one that is ready."""
        return self._connection

    # -- what the application does -------------------------------------------------------------------------
    def send(
        self, conversation_id: str, content: str | bytes, *, kind: str = "text", **fields: Any
    ) -> Outgoing:
        """Queue a message; it goes out when it can, and again until ✓. ``await outgoing.sent()`` waits for
        that.

        ``fields``: other fields of `send_message` by their wire names (``replyTo``…). Raises ValueError for
        content above 65,536 bytes, TypeError for fields that JSON does not know, :class:`OutboxFull`, and
        :class:`Stopped` when the server has ended this session. In a group that this user has left
        (:attr:`Chat.read_only`) it fails at once, with ``not_member``.
        """
        if kind in CHANGES:
            raise ValueError(f"{kind} is no kind of message")
        raw = content.encode() if isinstance(content, str) else content
        return self._queue(conversation_id, raw, kind, fields)

    def _queue(self, conversation_id: str, content: bytes, kind: str, fields: dict[str, Any]) -> Outgoing:
        if self._ended.is_set():
            raise Stopped(self.state.detail)
        if fields:
            json.dumps(fields)  # what cannot be sent must fail here, not on every connection
        outgoing = self.outbox.add(conversation_id, content, kind=kind, **fields)
        self._refuse_if_ended(conversation_id)
        self._chats.touch(conversation_id)
        self._wake.set()
        return outgoing

    def _refuse_if_ended(self, conversation_id: str) -> None:
        """Nothing can be written to a group that this user has left; the server need not be asked."""
        why = self._chats.groups.ended(conversation_id)
        if why:
            code, text = no_member(why)
            for outgoing in self.outbox.close(conversation_id, code, text, now=now()):
                self._broadcast.offer(ev.Failed(outgoing, code, text))

    def mark_read(self, conversation_id: str, up_to: int | None = None) -> None:
        """Tell the others that this user has read everything up to ``up_to`` (default: all that is here). Kept over
        restarts until the server was told."""
        if up_to is None:
            up_to = self.history[conversation_id].position
        if up_to and self._chats.read(conversation_id, up_to):
            self._duties.read(conversation_id, up_to)
            self._wake.set()

    def retry(self, outgoing: Outgoing, **fields: Any) -> None:
        """Queue a failed message again; ``fields`` replace those it had (``envelopes``, ``memberHash``). Raises ValueError
        for any other, :class:`Stopped`."""
        if self._ended.is_set():
            raise Stopped(self.state.detail)
        self.outbox.retry(outgoing, **fields)
        self._refuse_if_ended(outgoing.conversation_id)
        self._chats.touch(outgoing.conversation_id)
        self._wake.set()

    def discard(self, outgoing: Outgoing) -> None:
        """Forget a message that failed, or that was certainly never sent. Raises ValueError for any other."""
        self.outbox.discard(outgoing, now())
        self._chats.touch(outgoing.conversation_id)
        self._wake.set()

    # -- the connection ------------------------------------------------------------------------------------
    async def _run(self) -> None:
        while True:
            try:
                delay = await self._attempt()
            except DatabaseBroken:
                return  # :meth:`_broken` ends this client
            except Exception:
                # A bug, or the application's `on_session`: no reason to stay away for good.
                _log.exception("connecting failed; trying again")
                delay = self._backoff.next(at_least=LATER)
                await self._become(ev.State("waiting", "an error of this program", retry_in=delay))
            if delay is None:
                return
            await asyncio.sleep(delay)

    async def _attempt(self) -> float | None:
        """Connect and serve the connection to its end. Seconds until the next attempt; None: stopped for good."""
        await self._become(ev.State("connecting"))
        ready_at: float | None = None
        await self._tokens.renew_if_old()
        token = self.session.token
        try:
            timing = self._duties.timing
            connection = await Connection.open(self._url, token, codec=self._codec, timing=timing)
            ready_at = now()
            await self._live(connection)
        except Closed as closed:
            if ready_at is not None and now() - ready_at > GOOD_AFTER:
                self._backoff.reset()
            delay = await self._delay_after(closed, token)
            if delay is None:
                detail = REASONS.get(closed.code, str(closed)) + describe(closed.details, self.rest.url)
                await self._finish(ev.State("stopped", detail, code=closed.code))
            else:
                await self._become(ev.State("waiting", str(closed), retry_in=delay, code=closed.code))
            return delay
        raise AssertionError("a connection ends with Closed")

    async def _live(self, connection: Connection) -> None:
        """Serve one socket until it ends (raises :class:`Closed`)."""
        self._connection = connection
        self._inbound.slot = None
        self.connects += 1
        self._duties.connected(now())
        self.outbox.limit(int((connection.ready.get("limits") or {}).get("perMinute") or 0))
        writer = asyncio.create_task(self._write(connection))
        try:
            if server_time := whole(connection.ready.get("serverTime")):
                self.database.told_time(server_time)
            await self._become(ev.State("syncing"))
            async for frame in connection.frames():
                await self._inbound.handle(frame)
        except (ValueError, TypeError) as error:
            raise Closed(4400, f"the server sent a frame that makes no sense: {error!r}") from error
        finally:
            self._connection = None
            self._online.clear()
            self._duties.disconnected(now())
            self.outbox.disconnected()
            writer.cancel()
            try:
                await asyncio.gather(writer, return_exceptions=True)
                await connection.close()
            finally:
                connection.abort()  # also when the application does not wait for an orderly end

    async def _write(self, connection: Connection) -> None:
        """The only writer of the socket: everything due, in order, then wait for more."""
        try:
            while True:
                self._wake.clear()
                at = now()
                asked = self.outbox.unanswered(at)
                if asked is not None and connection.heard_at < asked:
                    _log.info("nothing was heard since a message went out; connecting again")
                    connection.abort()
                    return
                due = [*self._duties.due(at), *self.outbox.due(at)]
                self.database.commit()  # nothing is acknowledged or sent that is not in the file
                if due:
                    async with asyncio.timeout(STALLED):
                        for frame in due:
                            try:
                                await connection.send(frame)
                            except ValueError as error:  # this encoding has no place for it, now or ever
                                await self._inbound.handle(refusal(frame, str(error)))
                at = now()
                times = [t for t in (self._duties.next_due(at), self.outbox.next_due(at)) if t is not None]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(times) if times else None):
                        await self._wake.wait()
        except TimeoutError:
            connection.abort()  # the other side has stopped reading
        except (Closed, DatabaseBroken):
            pass  # the reader, or the database's own alarm, ends the connection
        except Exception:
            _log.exception("writing failed; connecting again")
            await connection.close()

    async def _delay_after(self, closed: Closed, token: str) -> float | None:
        """Seconds until the next attempt; None: never. ``token``: the access token of the last one."""
        retry, slot = after_close(closed.code), self._inbound.slot
        if slot is not None and retry in (Retry.SLOT, Retry.SOON):
            # Also for a socket that was cut off between `reconnect` and the close frame.
            self._inbound.slot = None
            return max(0.0, slot - now())
        if closed.slotted and closed.retry_after is not None and retry in (Retry.SLOT, Retry.SOON):
            return self._backoff.slot(closed.retry_after)  # turned away before `ready`
        match retry:
            case Retry.NEVER:
                return None
            case Retry.REFRESH:
                return await self._refresh(token)
            case Retry.SLOT:
                return self._backoff.next(at_least=closed.retry_after or NO_SLOT)
            case Retry.LATER:
                return self._backoff.next(at_least=LATER)
            case Retry.SOON:
                return self._backoff.next(at_least=closed.retry_after or 0.0)

    async def _refresh(self, rejected: str) -> float | None:
        """A new access token instead of ``rejected``; None when the session is over."""
        try:
            await self._tokens.renew(rejected)
        except Unreachable:
            return self._backoff.next()
        except RestError as error:
            if error.status == 429 or error.status >= 500:
                return self._backoff.next(at_least=error.retry_after or 1.0)
            return None
        return self._backoff.next()

    def _tokens_changed(self) -> None:
        self._tokens.save()

    def _told_read(self, conversation_id: str, up_to: int) -> None:
        self._chats.read(conversation_id, up_to, told=True, at=time.time_ns() // 1_000_000)

    def _committed(self) -> None:
        changed, self._chats.changed = self._chats.changed, {}
        for conversation_id in changed:
            self._broadcast.announce(conversation_id)

    def _broken(self, error: DatabaseBroken) -> None:
        """Stop for good: what cannot be stored must not be acknowledged."""
        _log.error("%s", error)
        if self._task is not None:
            if self._task is not asyncio.current_task():
                self._task.cancel()
            self._ending = asyncio.create_task(self._finish(ev.State("stopped", str(error))))

    async def _progress(self, remaining: int | None) -> None:
        """A sync goes on, with so many events to come, or is complete (None)."""
        if self._online.is_set():
            return
        if remaining is None:
            self.database.put("since", str(self._duties.settled))
            self._online.set()
            await self._become(ev.State("online"))
        else:
            await self._become(ev.State("syncing", remaining=remaining))

    async def _become(self, state: ev.State) -> None:
        self.state = state
        await self._broadcast.publish(state)

    async def _finish(self, state: ev.State) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._inbound.end()
            await self._become(state)
            await self._broadcast.end()
