"""A program that a test kills, or whose memory it measures.

``python -m tests.clients.media_worker URL SESSION DATABASE CONVERSATION FILE [plain]``:
it sends the file, encrypted, fetches it again into ``FILE.got``, and prints how much memory that took (bytes). ``plain``: the
server looks into it, which is a picture."""

from __future__ import annotations

import asyncio
import resource
import sys

from whatsapp_client import Backoff, Client, Database, Sealed, Session


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(url: str, session_path: str, path: str, conversation: str, file: str, how: str = "") -> None:
    session = Session.load(session_path)
    assert session is not None
    with Database(path) as database:
        async with Client(
            url, session, database=database, backoff=Backoff(first=0.02, ceiling=0.2)
        ) as client:
            await client.wait_online()
            await client.media.upload(conversation, b"small", encrypted=True)  # what is loaded once is loaded
            before = peak()

            def progress(done: int, total: int) -> None:
                print("up", done, total, flush=True)

            if how == "plain":
                outgoing = await client.send_file(
                    conversation,
                    file,
                    kind="image",
                    content="look",
                    progress=progress,
                    processing=lambda percent: print("work", percent, flush=True),
                )
                await outgoing.sent()
                print("grown", peak() - before, flush=True)
                return
            outgoing = await client.send_file(
                conversation, file, kind="document", seal=Sealed.to_bytes, name="big", progress=progress
            )
            await outgoing.sent()
            sealed = Sealed.from_bytes(outgoing.content)
            await client.media.download(sealed.media_url, file + ".got", key=sealed)
            print("grown", peak() - before, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:7]))
