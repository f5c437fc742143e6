"""A bot that answers every message with the same text, once, whatever dies in between.

``python examples/echo_bot.py http://127.0.0.1:8000 session.json bot.db``. The session comes from ``sign_up`` (see the
README). What makes it answer once: an answer and the note that the message is handled are made in one turn of the event
loop, so they are one transaction of the database. After a crash both are there, or neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from whatsapp_client import Client, Database, OutboxFull, Session, events


def answer(client: Client) -> None:
    """Answer everything that waits. There is no ``await`` between an answer and its note."""
    while waiting := client.unhandled():
        for entry in waiting:
            client.send(entry.conversation_id, f"you said: {entry.text}")
            client.handled(entry.conversation_id, entry.seq)
            client.mark_read(entry.conversation_id, entry.seq)


def answer_or_wait(client: Client) -> None:
    with contextlib.suppress(OutboxFull):  # goes on with the next ✓
        answer(client)


async def main(url: str, session_path: str, database_path: str) -> None:
    session = Session.load(session_path)
    if session is None:
        raise SystemExit(f"{session_path} holds no session")
    with Database(database_path) as database:
        async with Client(
            url, session, database=database, on_session=lambda changed: changed.save(session_path)
        ) as client:
            stream = client.events()
            answer_or_wait(client)  # what an earlier run had stored and not answered
            async for event in stream:
                match event:
                    case events.Message() | events.Sent():
                        answer_or_wait(client)
                    case events.State(status="stopped", detail=detail):
                        raise SystemExit(f"stopped: {detail}")


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:4]))
    except KeyboardInterrupt:
        pass
