"""All keys and signs."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from . import text
from .chat_list import BLOCKED, GROUP, MENTIONED, MUTED, PINNED, TIMER

KEYS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Everywhere",
        (
            ("F1, ?", "this help (? outside of a text field)"),
            ("Ctrl+N", "new chat with a phone number"),
            ("Ctrl+F", "search messages; again: in all chats"),
            ("F2", "the open chat: members, contact, timer"),
            ("F3, F4", "new group, join a group with a code"),
            ("F8", "starred messages"),
            ("F9", "settings: profile, privacy, devices, PIN…"),
            ("Alt+↑ Alt+↓", "previous, next chat"),
            ("Ctrl+T", "next theme"),
            ("Ctrl+P", "all commands: chats, themes, alerts"),
            ("Esc", "back to the chats; cancels an answer"),
            ("Tab", "list, messages, text field"),
            ("F5", "sign in again, when the session is over"),
            ("Ctrl+Q", "leave"),
        ),
    ),
    (
        "In the list of chats",
        (
            ("/", "find a chat"),
            ("m", "mute, or hear again"),
            ("p, a", "pin, put into the archive; again undoes it"),
        ),
    ),
    (
        "Writing",
        (
            ("Enter", "send"),
            ("@ in a group", "names to mention: Tab or Enter takes one"),
            ("Ctrl+J", "new line (Shift+Enter where it works)"),
            ("↑ in an empty field", "bring back what was sent"),
            ("Ctrl+O", "send a file; also: /file PATH caption"),
            ("F6", "ask: a poll"),
            ("F7", "the next message can be viewed once"),
            ("PgUp PgDn", "scroll the messages"),
            ("Ctrl+G", "jump to the newest message"),
            ("Ctrl+R", "send again what failed"),
        ),
    ),
    (
        "Messages",
        (
            ("↑ ↓", "choose a message"),
            ("Enter", "all that can be done with it; 1-6 reacts"),
            ("r, e", "reply, edit (your own, for 15 minutes)"),
            ("+", "react with any emoji"),
            ("f, s", "forward, star"),
            ("d", "delete for everyone or for me"),
            ("o", "to what it answers; open a view-once one"),
            ("v", "vote in a poll"),
            ("p", "look at a picture"),
            ("w, x", "save a file, open it in another program"),
            ("d", "give up a file on its way"),
            ("y", "copy it"),
            ("t, u", "report it, or the file in it"),
            ("i", "who has got and read one of your own"),
            ("r, d", "retry, discard one that was not sent"),
            ("Space", "show all of a long one"),
            ("End", "newest"),
        ),
    ),
    (
        "Mouse",
        (
            ("click", "open a chat, choose a message, vote"),
            ("click again", "the menu of a message; so does the right button"),
            ("wheel", "scroll"),
            ("Shift+drag", "select text, as the terminal does it"),
            ("Ctrl+click", "follow a link, where the terminal can"),
        ),
    ),
    (
        "In a group (F2)",
        (
            ("e a i t l", "edit, add members, invite, timer, leave"),
            ("r", "report the group"),
            ("/", "find a member"),
            ("Enter on a member", "write to them, change role, remove"),
        ),
    ),
    (
        "Signs",
        (
            (PINNED, "pinned on top"),
            (MUTED, "mute: rings only for what mentions you"),
            (MENTIONED, "you are mentioned in what is unread"),
            ("●", "online"),
            (GROUP, "a group"),
            (BLOCKED, "blocked"),
            (TIMER, "disappears: after how long, what is left"),
            ("★", "starred"),
            ("①", "can be viewed once"),
        ),
    ),
    (
        "Ticks",
        (
            ("·", "waits to be sent"),
            ("✓", "stored by the server"),
            ("✓✓", "on their device"),
            ("✓✓ coloured", "read"),
            ("!", "not sent: the server refused it"),
        ),
    ),
)


WIDTH, KEY = 70, 20  # cells of the box, and of a key


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f1,question_mark,enter", "dismiss(None)", "Close", show=False)
    ]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen > VerticalScroll {
        width: 70; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; border: round $accent; padding: 0 2;
        border-title-color: $accent; border-subtitle-color: $list-dim;
        scrollbar-size-vertical: 1; scrollbar-color: $scrollbar-thumb; scrollbar-background: $surface;
    }
    """

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "Esc closes"
            room = max(12, min(WIDTH, self.app.size.width) - KEY - 8)
            for title, keys in KEYS:
                yield Static(Content.styled(f"\n{title}", "bold $accent"))
                for key, what in keys:
                    rows = (what[begin:end] for begin, end in text.wrap(what, room))
                    words = ("\n" + " " * (KEY + 1)).join(rows)
                    yield Static(
                        Content.assemble(Content.styled(f"{key:<{KEY}} ", "bold"), (words, "$list-dim"))
                    )
            yield Static("")
