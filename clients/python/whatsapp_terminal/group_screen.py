"""What a group is: name, description, settings, members with their roles; and what one may do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import ClientError, Member

from . import membership, text
from .backend import Backend
from .cells import colour
from .explain import explain
from .group_book import ROLES, GroupBook
from .invite_screen import InviteScreen
from .names import Names
from .new_group import AddScreen, EditScreen, settings_of
from .sheets import ChoiceScreen, ConfirmScreen, Sheet, show_options
from .shell import Shell

#: When messages disappear is to be set.
TIMER = "timer"
#: The group is to be reported.
REPORT = "report"


class GroupScreen(Sheet[str]):
    """Follows its book: what others change is seen as it happens. Dismissed with a conversation to open, :data:`TIMER`,
    :data:`REPORT`, or None. ``find``: from a phone number to the user id."""

    app: Shell

    HORIZONTAL_BREAKPOINTS = [(0, "-thin"), (46, "-broad")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "Edit", show=False),
        Binding("a", "add", "Add", show=False),
        Binding("i", "invite", "Invite", show=False),
        Binding("t", "timer", "Timer", show=False),
        Binding("l", "leave", "Leave", show=False),
        Binding("r", "report", "Report", show=False),
        Binding("slash", "find", "Find", show=False),
    ]
    DEFAULT_CSS = """
    GroupScreen #about { max-height: 3; }
    GroupScreen .buttons #timer, GroupScreen .buttons #report { width: 5; }
    GroupScreen.-thin .buttons #timer, GroupScreen.-thin .buttons #report { display: none; }
    GroupScreen.-low #about { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    GroupScreen.-low #rules { display: none; }
    GroupScreen #facts { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(
        self,
        client: Backend,
        names: Names,
        book: GroupBook,
        title: str,
        find: Callable[[str], Awaitable[str]],
    ) -> None:
        super().__init__()
        self._client = client
        self._names = names
        self._book = book
        self._title = title
        self._find = find
        self._trouble = ""  # with reading the group, as it is shown

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = Content(text.cut(text.one_line(self._title), 50))
            box.border_subtitle = "Esc closes"
            yield Static("", id="facts")
            yield Static("", id="about", classes="dim")
            yield Static("", id="rules", classes="dim")
            with Horizontal(classes="buttons"):
                yield Button("Edit", id="edit", compact=True)
                yield Button("Add", id="add", compact=True)
                yield Button("Invite", id="invite", compact=True)
                yield Button("◷", id="timer", compact=True, tooltip="When messages disappear: t")
                yield Button("⚑", id="report", compact=True, tooltip="Report this group: r")
                yield Button("Leave", id="leave", compact=True, classes="-last")
            yield Input(placeholder="Find a member", id="find", max_length=64, compact=True)
            yield OptionList(id="members")
            yield Static("", classes="error")

    def on_mount(self, event: events.Mount) -> None:
        self._book.changed = self.renew
        self.query_one("#members", OptionList).focus()
        self.renew()
        self._book.renew()

    def on_unmount(self) -> None:
        self._book.changed = lambda: None

    # -- what is shown -----------------------------------------------------------------------------------------
    def renew(self) -> None:
        """There is news in the book."""
        if not self.is_mounted or self.closing:
            return
        book, group = self._book, self._book.group
        if group is not None:
            name = text.cut(text.one_line(group.name), 50)
            self.query_one(".box", Vertical).border_title = Content(name)
            about = text.one_line(group.description)
            self.query_one("#about", Static).update(Content(about or "No description."))
            rules = membership.allowed(settings_of(group))
            self.query_one("#rules", Static).update(Content(f"{rules[:1].upper()}{rules[1:]}."))
            count, here = group.member_count, len(book.members)
            words = f"{count:,} {'member' if count == 1 else 'members'}"
            role = ROLES.get(group.my_role, "")
            words += f" · you are {'the' if role == 'owner' else 'an'} {role}" if role else ""
            if here < count and not book.gone and book.error is None:
                words += f" · loading, {here:,} so far"
            self.query_one("#facts", Static).update(Content(words))
        trouble = ""
        if book.gone:
            trouble = "You are not in this group any more."
        elif book.error is not None:
            trouble = explain(book.error)
        if trouble or self._trouble:
            self.say(trouble)
        self._trouble = trouble
        allowed = {
            "edit": book.may_edit or book.is_admin,
            "add": book.may_add,
            "invite": book.is_admin,
            "timer": book.may_edit,
            "leave": not book.gone,
        }
        for button in self.query(Button):
            button.disabled = not allowed.get(str(button.id), True)
        self._list()

    def _list(self) -> None:
        wanted = self.query_one("#find", Input).value.strip().casefold()
        shown = [
            m
            for m in self._book.members
            if wanted in self._called(m).casefold() or wanted in m.name.casefold()
        ]
        options = [Option(self._words(member), member.user_id) for member in shown]
        if not options and (wanted or not self._book.gone):
            words = "No member is called so." if wanted else "Loading…" if self._book.error is None else ""
            options = [Option(Content.styled(words, "$list-dim"), disabled=True)]
        show_options(self.query_one("#members", OptionList), options)

    def _called(self, member: Member) -> str:
        return text.one_line(self._names.name(member.user_id))

    def _words(self, member: Member) -> Content:
        own = member.user_id == self._names.own
        parts: list[str | tuple[str, str]] = [
            ("▌ ", f"$name-{colour(member.user_id)}"),
            (text.cut(self._called(member), 40), "bold" if own else ""),
        ]
        if role := ROLES.get(member.role, ""):
            parts.append((f"  {role}", "$accent"))
        profile = text.cut(text.one_line(member.name), 30)
        if profile and not own and profile != self._called(member):
            parts.append((f"  ~{profile}", "$list-dim"))
        if self._names.online(member.user_id):
            parts.append(("  ●", "$success"))
        return Content.assemble(*parts)

    # -- what is done ------------------------------------------------------------------------------------------
    def on_input_changed(self, event: Input.Changed) -> None:
        self._list()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.query_one("#members", OptionList).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.run_worker(self.run_action(str(event.button.id)))

    def action_find(self) -> None:
        self.query_one("#find", Input).focus()

    def action_edit(self) -> None:
        if not self.query_one("#edit", Button).disabled:
            self.app.push_screen(EditScreen(self._client, self._book), self._done)

    def action_add(self) -> None:
        if not self.query_one("#add", Button).disabled:
            here = [member.user_id for member in self._book.members]
            self.app.push_screen(AddScreen(self._client, self._find, self._book.id, here), self._added)

    def action_invite(self) -> None:
        if self._book.is_admin and self._book.group is not None:
            screen = InviteScreen(self._client, self._book.id, self._book.group.name)
            self.app.push_screen(screen, self._done)

    def action_timer(self) -> None:
        """The main screen asks for it."""
        if not self.query_one("#timer", Button).disabled:
            self.dismiss(TIMER)

    def action_report(self) -> None:
        """Who is not in it any more may report it too. The main screen knows how."""
        self.dismiss(REPORT)

    def action_leave(self) -> None:
        if self._book.gone:
            return
        successor = " The oldest admin or member owns it then." if self._book.owns else ""
        question = f"Leave this group?{successor} What was written until now stays here."
        self._ask(question, "Leave", self._leave)

    async def _leave(self) -> None:
        await self._client.leave_group(self._book.id)
        self._book.renew()
        self.dismiss(None)

    def _done(self, result: object = None) -> None:
        self.say("")
        self._book.renew()

    def _added(self, count: int | None) -> None:
        self._done()
        if count:
            self.say(f"{count:,} added.", waiting=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        member = next((m for m in self._book.members if m.user_id == event.option.id), None)
        choices = self._book.choices(member) if member is not None else []
        if member is None or not choices:
            return
        self.app.push_screen(
            ChoiceScreen(self._called(member), choices), lambda what: self._chosen(member, what)
        )

    def _chosen(self, member: Member, what: str | None) -> None:
        name = text.cut(self._called(member), 40)
        if what is None:
            return
        if what == "write":
            self.attempt(self._write(member.user_id), waiting="One moment…")
            return
        question, verb = {
            "admin": (
                f"Make {name} an admin? Admins add and remove members and change settings.",
                "Make admin",
            ),
            "member": (f"Make {name} a plain member again?", "Demote"),
            "creator": (f"Hand the group over to {name}? You are an admin then.", "Hand over"),
            "remove": (f"Remove {name}? They get nothing that is written from now on.", "Remove"),
        }[what]
        self._ask(question, verb, lambda: self._change(member.user_id, what))

    def _ask(self, question: str, verb: str, work: Callable[[], Awaitable[None]]) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.attempt(self._run(work), waiting="One moment…")

        self.app.push_screen(ConfirmScreen(question, verb), answered)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        await work()
        self.say("")

    async def _change(self, user_id: str, what: str) -> None:
        if what == "remove":
            await self._client.remove_member(self._book.id, user_id)
        else:
            await self._client.set_role(self._book.id, user_id, what)
        self._book.renew()

    async def _write(self, user_id: str) -> None:
        conversation_id = await self._client.rest.direct(user_id)
        try:
            await self._client.refresh_chats()
        except ClientError:
            pass  # its name follows
        self.dismiss(conversation_id)
