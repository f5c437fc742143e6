"""Names to choose from while one writes ``@…``: a few rows over the text field, which keeps the focus."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from . import text
from .cells import colour
from .mentions import Person


class MentionBox(Static):
    DEFAULT_CSS = """
    MentionBox { display: none; height: auto; background: $surface; padding: 0; text-wrap: nowrap; text-overflow: clip; }
    """

    class Chosen(Message):
        def __init__(self, person: Person) -> None:
            super().__init__()
            self.person = person

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id)
        self.people: list[Person] = []
        self._at = 0

    def offer(self, people: list[Person]) -> None:
        """Show these, the first one marked; nobody: go away."""
        if people != self.people:
            self._at = 0
        self.people = people
        self.display = bool(people)
        self._draw()

    def move(self, step: int) -> None:
        if self.people:
            self._at = (self._at + step) % len(self.people)
            self._draw()

    def take(self) -> None:
        if self.people:
            self.post_message(self.Chosen(self.people[self._at]))

    def _draw(self) -> None:
        rows = []
        for index, person in enumerate(self.people):
            marked = " on $list-selected" if index == self._at else ""
            known, written = text.one_line(person.known), text.one_line(person.written)
            other = f"  @{text.cut(written, 30)}" if written != known else ""
            row = text.width(known) + text.width(other)
            fill = " " * max(0, self.app.size.width - row)
            rows.append(
                Content.assemble(
                    ("▌" if index == self._at else " ", f"$accent{marked}"),
                    (f"@ {text.cut(known, 40)}", f"bold $name-{colour(person.user_id)}{marked}"),
                    (other + fill, f"$list-dim{marked}"),
                )
            )
        self.update(Content("\n").join(rows))

    def on_click(self, event: events.Click) -> None:
        if 0 <= event.y < len(self.people):
            event.stop()
            self._at = event.y
            self.take()
