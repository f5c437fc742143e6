"""What others see of this user: name, about, photo."""

from __future__ import annotations

import pathlib

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from whatsapp_client import ClientError

from .backend import Backend
from .sheets import Sheet

NAME, ABOUT = 100, 500  # characters
PHOTO = 5 * 1024 * 1024  # bytes; the server says what it takes
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")  # JPEG, PNG, WebP


class NoPhoto(ClientError):
    """The file cannot be one."""


def photo_in(path: str) -> bytes:
    """The bytes of an image file. Raises :class:`NoPhoto`."""
    try:
        file = pathlib.Path(path).expanduser()
        if file.stat().st_size > PHOTO:
            raise NoPhoto(f"The file is larger than {PHOTO // 1024 // 1024} MB.")
        data = file.read_bytes()
    except OSError as error:
        raise NoPhoto(f"This file cannot be read: {error.strerror or error}.") from None
    if not data.startswith(SIGNATURES):
        raise NoPhoto("This is no JPEG, PNG or WebP image.")
    return data


class ProfileScreen(Sheet[None]):
    DEFAULT_CSS = (
        "ProfileScreen.-high Input { margin: 0 0 1 0; }\nProfileScreen.-high .buttons { margin: 0; }"
    )

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Profile · what others see"
            box.border_subtitle = "Esc closes"
            yield Static("Name", classes="dim")
            yield Input(id="name", max_length=NAME, compact=True, placeholder="Your name")
            yield Static("About", classes="dim")
            yield Input(id="about", max_length=ABOUT, compact=True, placeholder="A line about you")
            yield Static("Photo: a JPEG, PNG or WebP file", id="photo-words", classes="dim")
            yield Input(id="photo", max_length=4096, compact=True, placeholder="~/Pictures/me.jpg")
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Set photo", id="set", compact=True)
                yield Button("Remove photo", id="remove", compact=True)
                yield Button("Save", id="go", variant="primary", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#name", Input).focus()
        self.attempt(self._read(), waiting="Looking…")

    async def _read(self) -> None:
        me = await self._client.rest.me()
        for field in ("name", "about"):
            given = self.query_one(f"#{field}", Input)
            if not given.value:
                given.value = str(me.get(field) or "")
        self._has(bool(me.get("photo") or me.get("photoId")))
        self.say("")

    def _has(self, photo: bool) -> None:
        self.query_one("#remove", Button).disabled = not photo
        words = "You have a photo. Another one: " if photo else "Photo: "
        self.query_one("#photo-words", Static).update(Content(f"{words}a JPEG, PNG or WebP file"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "photo" and event.value:
            self.attempt(self._set_photo(), waiting="Sending…")
        else:
            self.attempt(self._save(), waiting="Saving…")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "set":
                self.attempt(self._set_photo(), waiting="Sending…")
            case "remove":
                self.attempt(self._remove_photo(), waiting="One moment…")
            case _:
                self.attempt(self._save(), waiting="Saving…")

    async def _save(self) -> None:
        given = {field: self.query_one(f"#{field}", Input).value.strip() for field in ("name", "about")}
        await self._client.rest.call("PATCH", "/me", given)
        self.say("Saved.", waiting=True)

    async def _set_photo(self) -> None:
        path = self.query_one("#photo", Input).value.strip()
        if not path:
            raise NoPhoto("Which file? Write its path.")
        await self._client.set_photo(photo_in(path))
        self._has(True)
        self.say("The photo is set.", waiting=True)

    async def _remove_photo(self) -> None:
        await self._client.set_photo(None)
        self._has(False)
        self.say("The photo is gone.", waiting=True)
