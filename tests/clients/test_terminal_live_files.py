"""Files between terminal clients on the real library and a real running system."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from PIL import Image
from textual.widgets import Input

from tests.clients.pilots import until
from tests.clients.test_terminal_live import TIMEOUT, Person, person, two_numbers
from tests.support.proxy import Network
from whatsapp_client import Sealed
from whatsapp_terminal.conversation import MessagesView
from whatsapp_terminal.file_screen import FileScreen
from whatsapp_terminal.halfblocks import UPPER
from whatsapp_terminal.picture_screen import Drawing, PictureScreen
from whatsapp_terminal.sheets import Tick


def colours(who: Person) -> list[int]:
    """Of the half blocks in the conversation, without repetition."""
    view = who.screen.query_one(MessagesView)
    spans = [span for block in view.blocks for row in block.rows for span in row if UPPER in span.text]
    return sorted({colour for span in spans if span.ink is not None for colour in span.ink})


def reddish(colour: int) -> bool:
    return colour >> 16 > 200 and colour & 0xFFFF < 0x4040


async def sends(who: Person, path: Path, caption: str, *, encrypted: bool = True) -> None:
    await who.pilot.press("ctrl+o")
    await until(lambda: isinstance(who.app.screen, FileScreen), TIMEOUT)
    sheet = who.app.screen
    sheet.query_one("#path", Input).value = str(path)
    sheet.query_one("#caption", Input).value = caption
    sheet.query_one("#encrypted", Tick).value = encrypted
    sheet.query_one("#caption", Input).focus()
    await who.pilot.press("enter")


async def pick(who: Person, words: str) -> None:
    view = who.screen.query_one(MessagesView)

    def key() -> str:
        found = (block.key for block in reversed(view.blocks) if block.message_id and words in block.message)
        return next(found, "")

    await until(key, TIMEOUT)
    view.focus()
    view.pick(key())
    await who.pilot.pause()


async def test_a_picture_goes_from_one_terminal_to_another(stack: Any, tmp_path: Path):
    ann_number, bob_number = two_numbers()
    sea = tmp_path / "the sea.png"
    Image.new("RGB", (640, 480), "#ff0000").save(sea)
    async with (
        person(stack, bob_number) as bob,
        person(stack, ann_number, to=bob_number, codec="protobuf") as ann,
    ):
        bob.app.settings.folder = str(tmp_path / "saved")
        await ann.sees(f"Message to {bob_number}")
        # End-to-end encrypted: the small picture that the server keeps sealed, then the whole.
        await sends(ann, sea, "red sea")
        await until(lambda: len(bob.client.chats()) == 1, TIMEOUT)
        chat = bob.client.chats()[0].conversation_id
        bob.screen.open_chat(chat)
        for who in (ann, bob):
            await who.sees("▣ the sea.png", "red sea")
            await until(lambda w=who: colours(w) and all(map(reddish, colours(w))), TIMEOUT)
        (entry,) = [e for e in bob.client.messages(chat) if e.kind == "image"]
        assert Sealed.from_bytes(entry.content).thumbnail_digest
        await pick(bob, "red sea")
        await bob.pilot.press("p")
        await until(lambda: isinstance(bob.app.screen, PictureScreen), TIMEOUT)
        drawing = bob.app.screen.query_one(Drawing)
        await until(lambda: len(drawing.rows) > 25, TIMEOUT)
        assert {span.ink for row in drawing.rows for span in row} == {(0xFF0000, 0xFF0000)}
        await bob.pilot.press("escape")
        await bob.pilot.press("w")
        await bob.sees("Saved as")
        assert (tmp_path / "saved" / "the sea.png").read_bytes() == sea.read_bytes()
        # One that the server looks into: its own small picture.
        await sends(ann, sea, "plain sea", encrypted=False)
        await bob.sees("▣ Photo", "plain sea")
        await pick(bob, "plain sea")
        await until(lambda: bob.screen.query_one(MessagesView).picked_block().facts.shape.pixels, TIMEOUT)
        assert ann.app.settings.sends == []


async def test_the_next_program_sends_what_the_last_one_had_begun(stack: Any, tmp_path: Path):
    """The program ends in the middle of a file; the next one sends the rest, and one message."""
    ann_number, bob_number = two_numbers()
    film = tmp_path / "film.bin"
    film.write_bytes(random.Random(3).randbytes(12 * 2**20))
    async with Network([stack.http]) as network, person(stack, bob_number) as bob:
        async with person(stack, ann_number, to=bob_number, url=network.http) as ann:
            await ann.sees(f"Message to {bob_number}")
            chat = ann.client.chats()[0].conversation_id
            network.bytes_per_s = 8 * 2**20
            await sends(ann, film, "the film")
            await ann.sees("▤ film.bin", "the film", "Cancel")
            await until(lambda: any(one.done > 4 * 2**20 for one in ann.client.media.unfinished()), TIMEOUT)
            assert len(ann.app.settings.sends) == 1
            network.down()
        assert [one for one in bob.client.chats() if one.last] == [], "the chat may be there, the message not"
        network.bytes_per_s = 0
        network.restore()
        async with person(stack, ann_number, url=network.http) as ann:
            await until(lambda: not ann.app.settings.sends, TIMEOUT)
            await until(lambda: bob.client.chats() and bob.client.messages(chat), TIMEOUT)
            assert ann.client.media.unfinished() == []
        (entry,) = bob.client.messages(chat)
        sealed = Sealed.from_bytes(entry.content)
        assert (entry.kind, sealed.caption) == ("document", "the film")
        await bob.client.media.download(sealed.media_url, tmp_path / "got", conversation_id=chat, key=sealed)
        assert (tmp_path / "got").read_bytes() == film.read_bytes()
