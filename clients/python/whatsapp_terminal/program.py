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
        database = Database(_own_file(clients, session))
        databases.append(database)
        path = session_path(clients, session.phone_number)

        def keep(changed: Session) -> None:
            """Under the number that it has now."""
            nonlocal path
            moved = session_path(clients, changed.phone_number)
            changed.save(moved)
            if moved != path:
                path.unlink(missing_ok=True)
                path = moved

        return Client(url, session, database=database, codec=by_name(codec), on_session=keep)

    app = TerminalApp(
        make,
        ServerRegistrar(url, clients, sms=None if ask else data / "sms.jsonl"),
        number=number,
        session=Session.load(session_path(clients, number)) if is_number(number) else None,
        to=to,
        settings_path=lambda known: clients / known / "settings.json" if is_number(known) else None,
    )
    return app, databases


def _own_file(clients: pathlib.Path, session: Session) -> pathlib.Path:
    """The database of a device. What it has under an earlier number of this user is moved to the present one, with the
    settings."""
    folder = clients / session.phone_number
    file = folder / f"{session.device_id}.db"
    if not file.exists():
        for old in clients.glob(f"*/{session.device_id}.db"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for suffix in (
                "-wal",
                "-shm",
                "",
            ):  # the file itself last: without its log it would be an older one
                part = old.with_name(f"{old.name}{suffix}")
                if part.exists():
                    part.rename(folder / part.name)
            settings = old.with_name("settings.json")
            if settings.exists() and not (folder / "settings.json").exists():
                settings.rename(folder / "settings.json")
            break
    return file
