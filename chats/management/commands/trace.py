"""``manage.py trace MESSAGE_ID``: what became of a message, for every device that was owed it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.selectors import unlinked_devices
from delivery.store.interface import Unavailable
from delivery.store.sync import store
from delivery.trace import Former, TraceError, Tracer
from whatsapp.infra.clock import now_ms

_FOR = re.compile(r"(\d{1,4})([smh])")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
MAX_FOR_MS = 24 * 3_600_000

_SAYS = {
    "sender": "sent it",
    "acknowledged": "acknowledged",
    "waiting": "waiting: owed, not acknowledged",
    "expired": "expired before it was acknowledged",
    "unlinked": "unlinked afterwards",
    "linked_later": "linked later: not owed",
    "passed": "acknowledged, or linked later",
}


class Command(BaseCommand):
    help = "Tell what became of a message, per device. Shows ids and times, never contents."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", nargs="?", default="", help="the messageId; with --seq, a conversation")
        parser.add_argument("--seq", type=int, help="a place in the log of the conversation ID")
        parser.add_argument("--json", action="store_true", help="one JSON object a sender of this id")
        parser.add_argument(
            "--watch", metavar="ID", help="trace marks and pushes of a conversation (or of this message's)"
        )
        parser.add_argument(
            "--for", dest="duration", default="10m", help="how long to watch, such as 90s, 10m, 2h"
        )
        parser.add_argument("--unwatch", metavar="ID", help="end watching, and forget what was traced")
        parser.add_argument("--watched", action="store_true", help="list what is watched")

    def handle(self, *args: Any, **options: Any) -> None:
        tracer = Tracer(store, settings.HOT_URL, _former, now_ms())
        try:
            if options["watch"]:
                self._watch(tracer, options["watch"], _duration(options["duration"]))
            elif options["unwatch"]:
                conversation = tracer.conversation_of(options["unwatch"])
                was = tracer.unwatch(conversation)
                self.stdout.write(f"{conversation} is not watched {'any more' if was else '(it was not)'}.")
            elif options["watched"]:
                for conversation, until in tracer.watched().items():
                    self.stdout.write(f"{conversation} until {_time(until)}")
            elif options["id"]:
                self._show(tracer, options)
            else:
                raise CommandError("Which message? manage.py trace MESSAGE_ID")
        except TraceError as error:
            raise CommandError(str(error)) from None
        except Unavailable:
            raise CommandError("The store cannot be reached: nothing can be proved now.") from None

    def _watch(self, tracer: Tracer, some_id: str, for_ms: int) -> None:
        conversation = tracer.conversation_of(some_id)
        until = tracer.watch(conversation, for_ms)
        self.stdout.write(
            f"{conversation} is watched until {_time(until)}. Gateways notice within about a second; what they do from then "
            "on is shown by: manage.py trace MESSAGE_ID"
        )

    def _show(self, tracer: Tracer, options: dict[str, Any]) -> None:
        if options["seq"] is not None:
            traces = [tracer.position(options["id"], options["seq"])]
        else:
            traces = tracer.message(options["id"])
        for trace in traces:
            if options["json"]:
                self.stdout.write(json.dumps(trace))
            else:
                self.stdout.write("\n".join(_text(trace)) + "\n")


def _former(users: list[str]) -> list[Former]:
    return [Former(*row) for row in unlinked_devices(user_ids=users)]


def _duration(text: str) -> int:
    """Milliseconds. Raises :class:`CommandError`."""
    found = _FOR.fullmatch(text)
    ms = int(found[1]) * _UNIT_MS[found[2]] if found else 0
    if not 0 < ms <= MAX_FOR_MS:
        raise CommandError(f"--for {text}: say 90s, 10m or 2h, at most 24h.")
    return ms


def _time(ms: int | None) -> str:
    if not ms:
        return "?"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}Z"


def _text(trace: dict[str, Any]) -> list[str]:
    stored, hints = trace["stored"], trace["hints"]
    where, append = stored["conversation"], stored["append"]
    lines = [
        f"message      {append.get('messageId', '(expired)')}",
        "",
        "FROM THE STORE (proof)",
        f"append       {append['state']}, {where['kind']} conversation {where['id']} seq {append['seq']} (head {where['head']})",
    ]
    if "at" in append:
        lines += [
            f"             at {_time(append['at'])} (the client's clock said {_time(append['clientTimestamp'])})",
            f"             {append['kind']}, {append['contentBytes']} bytes, by user {append['senderId']}",
            f"             from device {append['senderDeviceId']}",
        ]
    lines += [f"outbox       {_outbox(stored['outbox'])}"]
    users = {user["userId"]: user for user in stored["users"]}
    for device in stored["devices"]:
        lines.append(f"device       {device['deviceId']}  {_SAYS[device['state']]}{_more(device)}")
    for user in users.values():
        receipt = "read" if user["read"] else "delivered" if user["delivered"] else "nothing yet"
        late = f", not later than {_time(user['notLaterThan'])}" if user["notLaterThan"] else ""
        lines.append(f"receipts     user {user['userId']}: {receipt}{late}")
    lines += ["", "FROM THE HOT NODE (hints: may be lost or old)", *_hints(hints)]
    lines += ["", "TRACED (only while the conversation is watched)"]
    if trace["watchedUntil"]:
        lines.append(f"watched      until {_time(trace['watchedUntil'])}")
    lines += [_note(note) for note in trace["traced"]] or ["nothing      see --watch"]
    return lines


def _outbox(outbox: dict[str, Any]) -> str:
    state = outbox["state"]
    if state == "trimmed":
        return "trimmed: rows are kept for two hours"
    if state == "missing":
        return "MISSING: a stored message has a row for two hours"
    row = f"row {outbox['row']} of writer {outbox['writer']}"
    if state == "open":
        return f"{row}: open, no watermark has passed it yet (they are written each second)"
    under = ", ".join(f"epoch {m['epoch']} ({_time(m['writtenAt'])})" for m in outbox["markedUnder"])
    return f"{row}: marked under {under}"


def _more(device: dict[str, Any]) -> str:
    if "unlinkedAt" in device:
        return f" at {_time(device['unlinkedAt'])}"
    return f" (position {device['position']})"


def _hints(hints: dict[str, Any]) -> list[str]:
    if not hints["reachable"]:
        return [f"not reachable ({hints['error']})"]
    lines = [f"epoch        {hints['epoch']}"]
    if hints["markedUnderThisEpoch"] is False:
        lines.append("             the row is not marked under this epoch yet: its writer or the sweep will")
    for device in hints["devices"]:
        session, mark = device["session"], device["mark"]
        online = (
            f"{session['status']} on {session['process'] or session['incarnation']} since {_time(session['openedAt'])}"
            if session
            else "no session"
        )
        lines.append(
            f"device       {device['deviceId']}  {online}, {f'mark up to {mark}' if mark else 'no mark'}"
        )
    return lines


def _note(note: dict[str, Any]) -> str:
    rest = {key: value for key, value in note.items() if key not in ("at", "process", "seq", "what")}
    shown = ", ".join(
        f"{key} {' '.join(value) if isinstance(value, list) else value}"
        for key, value in rest.items()
        if value
    )
    return f"{note['what']:12} {_time(note['at'])} by {note['process']}: {shown or 'nobody'}"
