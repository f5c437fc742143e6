"""The full screen client on a server and a folder: what its commands have in common."""

from __future__ import annotations

import logging
import pathlib

from whatsapp_client import Client, Database, Session, by_name

from .app import TerminalApp
from .signin import ServerRegistrar, is_number, session_path


def application(
    url: str, data: pathlib.Path, *, ask: bool, number: str = "", to: str = "", codec: str = "json"
) -> tuple[TerminalApp, list[Database]]:
    """The full screen client, and its databases, to be closed when it has ended.

    Sessions are ``clients/NUMBER.json`` in ``data``; messages and the outbox of a device are
    ``clients/NUMBER/DEVICE.db``, and ``settings.json`` is beside them.
    """
    # What the library logs must not be written over the screen.
    logging.getLogger("whatsapp_client").addHandler(logging.NullHandler())
    clients = data / "clients"
    databases: list[Database] = []

    def make(session: Session) -> Client:
        while databases:
            databases.pop().close()
        path = session_path(clients, session.phone_number)
        database = Database(clients / session.phone_number / f"{session.device_id}.db")
        databases.append(database)
        return Client(
            url,
            session,
            database=database,
            codec=by_name(codec),
            on_session=lambda changed: changed.save(path),
        )

    app = TerminalApp(
        make,
        ServerRegistrar(url, clients, sms=None if ask else data / "sms.jsonl"),
        number=number,
        session=Session.load(session_path(clients, number)) if is_number(number) else None,
        to=to,
        settings_path=lambda known: clients / known / "settings.json" if is_number(known) else None,
    )
    return app, databases
