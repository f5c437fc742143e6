"""Telling moderators of somebody, a message, a file or a group, from the main screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from whatsapp_client import Chat, ClientError, Entry

from . import attachment, text
from .cells import Block
from .explain import explain
from .facts import Facts
from .file_actions import FileActionScreen
from .report_screen import Reported, ReportScreen

#: Messages that go with a report of somebody, or of a group.
REPORTED = 5


class ReportActionScreen(FileActionScreen):
    """The part of the main screen that reports."""

    def report_message(self, block: Block) -> None:
        self._report_of(block, "Report this message", f"this message{_and_file(block.facts)}", kind="message")

    def report_file(self, block: Block) -> None:
        """Of the file itself, whoever else sends it: with the message that carries it."""
        file = block.facts.file
        if file is None or not file.url:
            return
        name = attachment.NAMES[file.kind].lower()
        with_key = " and its key, to look at it" if file.sealed is not None else ""
        self._report_of(
            block,
            f"Report this {name}",
            f"this {name}{with_key}",
            kind="media",
            media_id=attachment.media_id(file.url),
        )

    def _report_of(self, block: Block, title: str, what: str, **fields: Any) -> None:
        name, here = _short(self.names.name(block.sender), 20), self._here
        told = f"Moderators get {what}. {name} is not told."

        def answered(chosen: Reported | None) -> None:
            if chosen is not None:
                self._send_report(
                    here,
                    chosen,
                    block=chosen.also,
                    message_ids=[block.message_id],
                    user_id=block.sender,
                    **fields,
                )

        self.app.push_screen(ReportScreen(title, told, _block(name)), answered)

    def report_user(self, chat: Chat) -> None:
        """With their last messages, as far as they can be shown."""
        user, name = chat.user_id or "", _short(chat.title, 30)
        last = self._last(chat, lambda entry: entry.sender_id == user)
        which = _messages(last, "of ") or "only the name of "
        told = f"Moderators get {which}{name}, who is not told."

        def answered(chosen: Reported | None) -> None:
            if chosen is not None:
                self._send_report(
                    chat.conversation_id,
                    chosen,
                    kind="user",
                    block=chosen.also,
                    message_ids=last,
                    user_id=user,
                )

        also = "" if chat.blocked else _block(name)
        self.app.push_screen(ReportScreen(f"Report {name}", told, also), answered)

    def report_group(self, chat: Chat) -> None:
        """With the last messages of others in it. Who has left it, or was removed, may report it too."""
        last = self._last(chat, lambda entry: entry.sender_id != self.client.session.user_id)
        which = _messages(last, "in ") or "only the name of "
        told = f"Moderators get {which}this group. Nobody in it is told."

        def answered(chosen: Reported | None) -> None:
            if chosen is not None:
                self._send_report(
                    chat.conversation_id, chosen, kind="group", leave=chosen.also, message_ids=last
                )

        also = "" if chat.read_only in _OUTSIDE else "Leave the group as well"
        title = f"Report {_short(chat.title, 30)}"
        self.app.push_screen(ReportScreen(title, told, also, ticked=False), answered)

    def _last(self, chat: Chat, wanted: Callable[[Entry], bool]) -> list[str]:
        """The ids of the last messages that there is a copy of."""
        entries: Iterable[Entry] = self.client.messages(chat.conversation_id, limit=50)
        found = [
            one.message_id for one in entries if one.type == "message" and not one.deleted and wanted(one)
        ]
        return [one for one in found if self.client.has_copy(chat.conversation_id, one)][-REPORTED:]

    def _send_report(self, conversation_id: str, chosen: Reported, **fields: Any) -> None:
        done = "Reported. Thank you."
        if chosen.also:
            done = f"Reported and {'left' if fields.get('leave') else 'blocked'}. Thank you."
        self.ask_server(lambda: self.client.report(conversation_id, chosen.category, **fields), done)

    def ask_server(self, work: Callable[[], Awaitable[object]], done: str) -> None:
        self.run_worker(self._asked_server(work, done), group="people")

    async def _asked_server(self, work: Callable[[], Awaitable[object]], done: str) -> None:
        try:
            await work()
        except ClientError as error:
            self.app.say(explain(error), severity="error")
        except ValueError as error:  # a message has gone meanwhile
            self.app.say(f"Not done: {error}.", severity="error")
        else:
            self.app.say(done, timeout=4)
        await self.refresh_chats()


def _short(name: str, most: int) -> str:
    return text.cut(text.one_line(name), most)


def _block(name: str) -> str:
    return f"Block {name} as well"


def _and_file(facts: Facts) -> str:
    return " and its file" if facts.file is not None and facts.file.url else ""


def _messages(ids: list[str], of: str) -> str:
    """What moderators get of them; "" for nothing."""
    return f"the last {len(ids)} messages {of}" if len(ids) > 1 else f"the message {of}" if ids else ""


#: Who is in none of these may leave.
_OUTSIDE = ("removed", "left", "dissolved")
