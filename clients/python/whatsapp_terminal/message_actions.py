"""What keys, clicks and menus do with messages: answer, edit, delete, react, forward, star, vote, find again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import Input

from whatsapp_client import ClientError, Entry

from . import attachment, text
from .cells import Block
from .composer import Composer
from .context_bar import ContextBar, Writing
from .conversation import MessagesView
from .emoji_screen import EmojiScreen
from .explain import explain
from .facts import CLOSED, MANY
from .facts_of import said_in
from .forward_screen import MOST, ForwardScreen
from .found_screen import LIMIT, Hit, Place, SearchScreen, StarredScreen
from .group_actions import GroupActionScreen, now_ms
from .message_menu import Allowed, Choice, MessageMenu, choices, deletions, editable
from .once_screen import OnceScreen
from .poll_screen import Draft, PollScreen, VoteScreen, chosen_with
from .sheets import ChoiceScreen


class MessageActionScreen(GroupActionScreen):
    """The part of the main screen that deals with single messages."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+f", "find_messages", "Search", priority=True),
        Binding("f6", "poll", "Poll", show=False, priority=True),
        Binding("f7", "once", "View once", show=False, priority=True),
        Binding("f8", "starred", "Starred", show=False, priority=True),
    ]
    writing: Writing

    # -- what is said of a message ---------------------------------------------------------------------------------
    def message_action(self, action: str) -> bool:
        """A key or a click on a message; False for what the open chat does by itself."""
        opened = self.open
        verb, _, rest = action.partition(" ")
        if opened is None:
            return True
        if verb == "goto":
            opened.go_to(int(rest))
            return True
        number = -1
        if verb in ("reaction", "vote"):
            first, _, rest = rest.partition(" ")
            number = int(first)
        block = opened.block(rest)
        if verb in ("retry", "discard", "unfold", "info") or block is None:
            return False
        try:
            self._do(verb, block, number)
        except (ValueError, ClientError) as error:
            self._refused(error)
        self.stale()
        return True

    def _do(self, verb: str, block: Block, number: int) -> None:
        known = {choice[0] for choice in self._choices(block)}
        match verb:
            case "menu":
                self._menu(block)
            case "reaction" if number < len(block.facts.reactions):
                self._react(block, block.facts.reactions[number].emoji)
            case "vote":
                self._vote_for(block, number)
            case "react":
                self._any_emoji(block)
            case "original" if "once" in known:
                self._open_once(block)
            case "ballot" if self._may_react(block):
                self._ballot(block)
            case "copy" if block.message:
                self.app.copy_to_clipboard(block.message)
                self.app.say("Copied", timeout=2)
            case _ if verb not in known:
                self._cannot(verb, block)
            case "once":
                self._open_once(block)
            case "reply":
                self._reply(block)
            case "original" if block.facts.quote is not None and self.open is not None:
                self.open.go_to(block.facts.quote.seq)
            case "edit":
                self._edit(block)
            case "forward":
                self._forward(block)
            case "star":
                self.client.star(self._here, block.message_id, not block.facts.starred)
                self._altered(block)
            case "info":
                self.message_info(self._here, block.message_id, block.message)
            case "report":
                self.report_message(block)
            case "report_file":
                self.report_file(block)
            case "delete":
                self._delete(block)

    def report_message(self, block: Block) -> None:
        """Somebody above knows people."""

    def report_file(self, block: Block) -> None:
        """The same."""

    def _choices(self, block: Block) -> list[Choice]:
        kept = bool(self._here) and self.client.has_copy(self._here, block.message_id)
        return choices(block, self._allowed(), now_ms(), kept=kept)

    def _altered(self, block: Block) -> None:
        """Show it as it is now, wherever it is: without a server, too."""
        if self.open is not None:
            self.open.amended(block.message_id)

    def _cannot(self, verb: str, block: Block) -> None:
        """A key that does nothing here says why, where that is not plain."""
        if verb == "edit" and block.own and not editable(block, now_ms()):
            self.app.say("A message can be edited for 15 minutes after it was sent.", severity="warning")
        elif verb == "edit" and block.message:
            self.app.say("Only your own messages can be edited.", severity="warning")
        elif verb == "reply" and self.open is not None and self.open.closed:
            self.app.say(f"{self.open.closed}.", severity="warning")

    @property
    def _here(self) -> str:
        return self.open.id if self.open is not None else ""

    def _allowed(self) -> Allowed:
        opened = self.open
        if opened is None:
            return Allowed(write=False)
        return Allowed(write=not opened.closed, admin=opened.book is not None and opened.book.is_admin)

    def _refused(self, error: Exception) -> None:
        self.app.say(explain(error) if isinstance(error, ClientError) else str(error), severity="error")

    def _menu(self, block: Block) -> None:
        found = self._choices(block)
        if block.facts.poll is not None and self._may_react(block):
            found.insert(0, ("ballot", "Vote", "v"))
        words = block.message or ("This can be viewed once." if block.facts.once else "")
        screen = MessageMenu(words, found, react=self._may_react(block), mine=block.facts.my_reaction)
        key = block.key

        def chosen(what: str | None) -> None:
            verb, _, emoji = (what or "").partition(" ")
            now = self.open.block(key) if self.open is not None else None  # it may be another by now
            if now is None or not verb:
                return
            if verb == "react" and emoji:
                self._attempt_react(now, emoji)
            else:
                self.message_action(f"{verb} {key}")

        self.app.push_screen(screen, chosen)

    def _may_react(self, block: Block) -> bool:
        return self._allowed().write and block.entry is not None and not block.facts.deleted

    # -- reactions -------------------------------------------------------------------------------------------------
    def _react(self, block: Block, emoji: str) -> None:
        """The same one again takes it back."""
        if self._may_react(block):
            again = emoji == block.facts.my_reaction
            self.client.react(self._here, block.message_id, "" if again else emoji)
            self._altered(block)

    def _attempt_react(self, block: Block, emoji: str) -> None:
        try:
            self._react(block, emoji)
        except (ValueError, ClientError) as error:
            self._refused(error)
        self.stale()

    def _any_emoji(self, block: Block) -> None:
        if self._may_react(block):
            self.app.push_screen(EmojiScreen(), lambda e: self._attempt_react(block, e) if e else None)

    # -- answers and edits -----------------------------------------------------------------------------------------
    def _reply(self, block: Block) -> None:
        self.cancel_writing()
        self.writing.reply = block
        self.set_focus(self.query_one(Composer))
        self.draw_context()

    def _edit(self, block: Block) -> None:
        self.cancel_writing()
        composer = self.query_one(Composer)
        self.writing.edit, self.writing.draft = block, composer.text
        composer.put(_present(block))
        self.set_focus(composer)
        self.draw_context()

    def cancel_writing(self) -> bool:
        """Back to a plain message; whether there was anything to cancel. What was in the field before an edit returns."""
        known, self.writing = self.writing, Writing()
        if known.edit is not None:
            self.query_one(Composer).put(known.draft)
        self.draw_context()
        return not known.plain

    def draw_context(self) -> None:
        reply = self.writing.reply
        name = "" if reply is None else "yourself" if reply.own else self.names.name(reply.sender)
        self.query_one(ContextBar).show(self.writing, name)

    @on(ContextBar.Cancelled)
    def _cancelled(self) -> None:
        self.cancel_writing()

    def action_back(self) -> None:
        if not (self.query_one(Composer).has_focus and self.cancel_writing()):
            super().action_back()

    def action_once(self) -> None:
        """The next message can be viewed once, or can be viewed as often as one likes again."""
        if self.open is not None and self.writing.edit is None:
            self.writing.once = not self.writing.once
            self.set_focus(self.query_one(Composer))
            self.draw_context()

    def submit(self, words: str) -> None:
        """What Enter sends. Raises :class:`ClientError`, ValueError."""
        opened, writing = self.open, self.writing
        if opened is None:
            return
        if writing.edit is not None:
            if words != _present(writing.edit):
                self.client.edit(opened.id, writing.edit.message_id, words)
                self._altered(writing.edit)
            self.cancel_writing()
            return
        fields: dict[str, object] = {}
        if writing.reply is not None:
            fields["replyTo"] = writing.reply.message_id
        if writing.once:
            fields["viewOnce"] = True
        opened.send(words, **fields)
        self.writing = Writing()
        self.draw_context()
        opened.to_newest()

    # -- delete, forward, view once ----------------------------------------------------------------------------------
    def _delete(self, block: Block) -> None:
        found = deletions(block, self._allowed(), now_ms())
        words = text.cut(text.one_line(block.message), 24)
        title = f"Delete “{words}”?" if words else "Delete this message?"

        def chosen(what: str | None) -> None:
            try:
                if what == "everyone":
                    self.client.delete(self._here, block.message_id)
                elif what == "me":
                    self.client.hide(self._here, block.message_id)
                self._altered(block)
            except (ValueError, ClientError) as error:
                self._refused(error)
            self.stale()

        self.app.push_screen(ChoiceScreen(title, found), chosen)

    def _forward(self, block: Block) -> None:
        entry = block.entry
        if entry is None:
            return
        chats = [chat for chat in self.client.chats() if not chat.read_only and not chat.blocked]
        most = 1 if block.facts.forwarded >= MANY else MOST
        self.app.push_screen(
            ForwardScreen(block.message, chats, most=most), lambda ids: self._forwarded(entry, ids)
        )

    def _forwarded(self, entry: Entry, ids: list[str] | None) -> None:
        if not ids:
            return
        try:
            self.client.forward(entry, ids)
        except (ValueError, ClientError) as error:
            self._refused(error)
            return
        if len(ids) == 1 and ids[0] != self._here:
            self.open_chat(ids[0])
        else:
            self.app.say(f"Forwarded to {len(ids)} {'chat' if len(ids) == 1 else 'chats'}.", timeout=3)
        self.stale()

    def _open_once(self, block: Block) -> None:
        if block.facts.once != CLOSED or block.own:
            return
        content = self.client.open_once(self._here, block.message_id)
        name = self.names.name(block.sender)
        if block.entry is not None and block.entry.kind in attachment.NAMES:  # its key is nothing to look at
            content = attachment.words(block.entry.kind, content).encode()
        self.app.push_screen(OnceScreen(name, content))
        self._altered(block)

    # -- polls -----------------------------------------------------------------------------------------------------
    def action_poll(self) -> None:
        if self.open is not None and not self.open.closed:
            self.app.push_screen(PollScreen(), self._asked)

    def _asked(self, draft: Draft | None) -> None:
        if draft is None or self.open is None:
            return
        question, options, multiple = draft
        try:
            self.client.send_poll(self.open.id, question, options, multiple=multiple)
        except (ValueError, ClientError) as error:
            self._refused(error)
        self.open.to_newest()
        self.stale()

    def _vote_for(self, block: Block, number: int) -> None:
        """A click on an option."""
        poll = block.facts.poll
        if poll is not None and number < len(poll.options) and self._may_react(block):
            mine = [option.words for option in poll.options if option.mine]
            self._vote(block, chosen_with(mine, poll.options[number].words, multiple=poll.multiple))

    def _ballot(self, block: Block) -> None:
        if block.facts.poll is not None:
            self.app.push_screen(VoteScreen(block.facts.poll), lambda chosen: self._vote(block, chosen))

    def _vote(self, block: Block, chosen: list[str] | None) -> None:
        if chosen is None:
            return
        try:
            self.client.vote(self._here, block.message_id, chosen)
            self._altered(block)
        except (ValueError, ClientError) as error:
            self._refused(error)
        self.stale()

    # -- finding ---------------------------------------------------------------------------------------------------
    def action_find_messages(self) -> None:
        here = (self.open.id, self.open.title) if self.open is not None else ("", "")
        if self.query_one("#search", Input).has_focus or not self.query_one(MessagesView).display:
            here = ("", "")
        words = self.query_one("#search", Input).value
        self.app.push_screen(SearchScreen(self._search, here, words), self.go_to)

    def _search(self, wanted: str, conversation_id: str) -> Sequence[Hit]:
        found = self.client.search(wanted, conversation_id or None, limit=LIMIT)
        return [self._hit(one.entry, one.snippet, one.marks) for one in found]

    def _hit(self, entry: Entry, words: str, marks: tuple[tuple[int, int], ...] = ()) -> Hit:
        chat = self.chats.get(entry.conversation_id)
        who = self.names.name(entry.sender_id)
        if chat is not None and chat.kind != "direct":
            who = f"{who} · {chat.title}"
        elif chat is not None and entry.sender_id == self.names.own:
            who = f"You to {chat.title}"
        shown = text.clean(words).replace("\n", " ")
        place = Place(entry.conversation_id, entry.seq)
        # What was taken out of the words has moved the marks.
        return Hit(place, who, entry.server_timestamp, shown, marks if len(shown) == len(words) else ())

    def action_starred(self) -> None:
        hits = [self._hit(entry, said_in(entry)) for entry in self.client.starred(limit=4 * LIMIT)]
        self.app.push_screen(StarredScreen(hits), self.go_to)

    def go_to(self, place: Place | None) -> None:
        """Open the chat of a message, and show it."""
        if place is None:
            return
        if self.open is None or self.open.id != place.conversation_id:
            self.open_chat(place.conversation_id)
        else:
            self.add_class("-talking")
        if self.open is not None and self.open.id == place.conversation_id:
            self.open.go_to(place.seq)
            self.set_focus(self.query_one(MessagesView))

    # -- what may be pressed ---------------------------------------------------------------------------------------
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("poll", "once"):
            return self.app.screen is self and self.open is not None and not self.open.closed
        if action in ("find_messages", "starred"):
            return self.app.screen is self
        return super().check_action(action, parameters)


def _present(block: Block) -> str:
    """What a message says now, not as it is shown."""
    if block.facts.words is not None:
        return block.facts.words
    return block.entry.text if block.entry is not None else block.message
