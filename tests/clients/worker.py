"""A program on the client library that a test kills: it writes numbered messages, and goes on where its file says it was.

``python -m tests.clients.worker URL SESSION DATABASE CONVERSATION LAST``: ``LAST`` 0 writes until it is killed; otherwise it
writes up to that number, waits until everything has its ✓ and nothing is left to read, and ends.
"""

from __future__ import annotations

import asyncio
import re
import sys

from whatsapp_client import Backoff, Client, Database, Session


def written(client: Client, conversation: str) -> int:
    """The highest number this device has written, ✓ or not."""
    mine = [o.text for o in client.pending(conversation)]
    mine += [e.text for e in client.history[conversation].entries if e.sender_id == client.session.user_id]
    return max([int(found.group(1)) for text in mine if (found := re.match(r"w(\d+)$", text))], default=0)


async def main(url: str, session_path: str, path: str, conversation: str, last: int) -> None:
    session = Session.load(session_path)
    assert session is not None
    database = Database(path)
    client = Client(url, session, database=database, backoff=Backoff(first=0.02, ceiling=0.2))
    number = written(client, conversation)
    async with client:
        while not last or number < last:
            number += 1
            client.send(conversation, f"w{number}")
            client.flush()
            print(number, flush=True)  # from now on it must arrive
            await asyncio.sleep(0.002)
        await client.wait_online()
        while client.pending(conversation) or client.history[conversation].hole:
            await asyncio.sleep(0.01)
        client.flush()  # what was heard in this very turn
        print("through", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], int(sys.argv[5])))
