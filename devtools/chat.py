"""``./dev chat +15550001 [--to +15550002]``: a terminal client on the running development system.

In a terminal it is a full screen; with ``--plain``, or through pipes, plain lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pathlib
import subprocess
import sys
from typing import Any

from devtools import record
from devtools.errors import DevError
from devtools.paths import REPO, DataFolder

sys.path.insert(0, str(REPO / "clients" / "python"))

from whatsapp_client import (
    Client,
    ClientError,
    Rest,
    RestError,
    Session,
    SmsFile,
    Unreachable,
    by_name,
    sign_up,
)
from whatsapp_terminal.chat import Chat
from whatsapp_terminal.kept import Kept
from whatsapp_terminal.program import application
from whatsapp_terminal.screen import open_screen
from whatsapp_terminal.signin import is_number


def running_system(data: str | None = None) -> dict[str, Any]:
    """What ``./dev status --json`` says. Raises :class:`DevError` when nothing runs."""
    command = [sys.executable, str(REPO / "dev"), "status", "--json", *(["--data", data] if data else [])]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        status: dict[str, Any] = json.loads(answer.stdout)
    except ValueError:
        reason = (answer.stderr.strip() or "no answer").splitlines()[-1]
        raise DevError(f"./dev status failed: {reason}") from None
    if not status.get("http"):
        folder = DataFolder(pathlib.Path(status["data"]))
        raise DevError(
            f"nothing runs yet (data folder {folder.root}): start it with ./dev up{record.words(folder)}, in another terminal"
            " or with --detach"
        )
    return status


async def sign_in(url: str, number: str, data: pathlib.Path, *, ask: bool) -> tuple[Session, pathlib.Path]:
    """The session of ``number`` on this machine: the one kept in ``data``, if it still works, or a new one.

    The code comes from the ``sms.jsonl`` of ``data``, or with ``ask`` from the user.
    """
    path = data / "clients" / f"{number}.json"
    known = Session.load(path)
    if known is not None and await _works(url, known, path):
        return known, path
    sms = SmsFile(data / "sms.jsonl", number)

    async def asked() -> str:
        return (await asyncio.to_thread(input, f"Code of the SMS to {number}: ")).strip()

    session = await sign_up(
        Rest(url), number, asked if ask else sms.code, device_name="terminal", known=known
    )
    session.save(path)
    return session, path


async def _works(url: str, session: Session, path: pathlib.Path) -> bool:
    rest = Rest(url, token=session.token)
    try:
        await rest.me()
    except RestError as error:
        if error.status != 401:
            raise
        try:
            await rest.refresh(session)
        except RestError as refused:
            if refused.status in (429, 500, 503):
                raise
            return False
        session.save(path)
    return True


def where(url: str | None, data: str | None) -> tuple[str, pathlib.Path, bool]:
    """The server, the folder for sessions (and codes), and whether the user must read the SMS."""
    if url is not None and data is not None:
        return url, pathlib.Path(data), False
    try:
        status = running_system(data)
    except DevError:
        if url is None:
            raise
        status = {}
    if url is None or url.rstrip("/") == status.get("http"):
        return status["http"], pathlib.Path(status["data"]), False
    return url, pathlib.Path.home() / ".whatsapp-terminal", True


async def chat(args: argparse.Namespace) -> int:
    """Plain lines, everything in memory but what is kept for people who are not registered yet."""
    url, data, ask = where(args.url, args.data)
    session, path = await sign_in(url, args.number, data, ask=ask)
    client = Client(url, session, codec=by_name(args.codec), on_session=lambda changed: changed.save(path))
    with open_screen() as screen:
        return await Chat(client, screen, Kept(path.with_suffix(".kept"))).run(to=args.to or "")


def full_screen(args: argparse.Namespace) -> int:
    url, data, ask = where(args.url, args.data)
    app, databases = application(
        url, data, ask=ask, number=args.number or "", to=args.to or "", codec=args.codec
    )
    try:
        code = app.run()
    finally:
        for database in databases:
            database.close()
    return code if isinstance(code, int) else app.return_code or 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./dev chat", description=__doc__)
    parser.add_argument(
        "number", nargs="?", help="your phone number; development takes +1555 and 4 to 7 digits"
    )
    parser.add_argument("--to", help="the number to talk to; it may register later")
    parser.add_argument(
        "--url", help="http://host:port of the server (default: the system that ./dev up started)"
    )
    parser.add_argument("--data", help="data folder of a development system, for codes and sessions")
    parser.add_argument(
        "--codec", choices=("json", "protobuf"), default="json", help="encoding of the socket"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the full screen")
    args = parser.parse_args(arguments)
    # Textual draws on stderr.
    screen = not args.plain and all(file.isatty() for file in (sys.stdin, sys.stdout, sys.stderr))
    if not args.number and not screen:
        parser.error("your phone number is missing")
    for number in filter(None, (args.number, args.to)):
        if not screen and not is_number(number):
            parser.error(f"{number} is no phone number: + and digits, like +15550001")
    try:
        return full_screen(args) if screen else asyncio.run(chat(args))
    except KeyboardInterrupt:
        return 0
    except RestError as error:
        print(f"The server says no: {(error.message or error.code).rstrip('.')}.", file=sys.stderr)
    except Unreachable as error:
        print(f"{error}. Is it running? ./dev status tells.", file=sys.stderr)
    except (ClientError, DevError) as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
