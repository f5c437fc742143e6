"""Writes over REST whose answer is lost on the way: against the real system, through a proxy that swallows answers."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

import pytest

from whatsapp_client import Client, Database, NotFound, Unreachable, events, writes

from .connected import C, connected
from .scripted import Peer
from .test_with_server import register


class Swallowing:
    """Passes requests on; of the next ``lost`` POSTs the answer does not come back."""

    def __init__(self, url: str) -> None:
        self._to = urllib.parse.urlsplit(url)
        self.lost = 0
        self.posts = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
            server_reader, server_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
            server_writer.write(head + body)
            answer = await server_reader.read()  # each request of the client closes its connection
            server_writer.close()
            if head.startswith(b"POST"):
                self.posts += 1
                if self.lost:
                    self.lost -= 1
                    answer = b""
            writer.write(answer)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def swallowing(url: str) -> AsyncIterator[Swallowing]:
    proxy = Swallowing(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy


async def groups(client: Client) -> list[str]:
    return [item["groupId"] for item in await client.rest.conversations() if item["kind"] == "group"]


async def test_a_lost_answer_makes_no_second_group(
    stack: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writes, "AGAIN", (0.01, 0.01))
    ann, bob = await register(stack), await register(stack)
    async with swallowing(stack.http) as proxy:
        with Database(tmp_path / "db") as database:
            client = Client(proxy.url, ann, database=database)
            proxy.lost = 2
            group = await client.create_group("Sailing", [bob.user_id])
            assert (proxy.posts, await groups(client)) == (3, [group])

            proxy.lost = 3  # all that it tries by itself
            with pytest.raises(Unreachable):
                await client.create_group("Rowing", [bob.user_id])
        with Database(tmp_path / "db") as database:  # another process tries again
            client = Client(proxy.url, ann, database=database)
            second = await client.create_group("Rowing", [bob.user_id])
            assert sorted(await groups(client)) == sorted([group, second])
            assert await client.create_group("Rowing", [bob.user_id]) not in (
                group,
                second,
            )  # a wish of its own
            both = await asyncio.gather(*[client.create_group("Diving", [bob.user_id]) for _ in range(2)])
            assert len({*both, group, second}) == 4

            proxy.lost = 1
            invite = await client.create_invite(group)
            assert [known.code for known in await client.invites(group)] == [invite.code]
            with pytest.raises(NotFound):
                await client.create_group("Nobody", ["01a21568-bb7a-70fa-90d5-0b6156e3833f"])
            assert database.read("SELECT count(*) FROM writes").fetchone() == (0,)


async def test_queued_is_as_good_as_sent():
    """The others get it later, because the server is busy."""

    async def script(peer: Peer) -> None:
        await peer.synced()
        sent = await peer.receive("send_message")
        await peer.tick(sent, 1, status="queued")
        await peer.until_closed()

    async with connected(script) as (_, client):
        stream = client.events()
        outgoing = client.send(C, "hello")
        await asyncio.wait_for(outgoing.sent(), 5)
        assert (outgoing.state, outgoing.delayed, client.receipt_of(outgoing)) == ("sent", True, "sent")
        assert client.pending(C) == []
        async with asyncio.timeout(5):
            async for event in stream:
                if isinstance(event, events.Sent):
                    assert event.outgoing.delayed
                    break
