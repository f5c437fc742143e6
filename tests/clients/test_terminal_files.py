"""Files in the terminal: sent with a bar, cancelled, gone on with; shown, saved, opened; and nothing of it harms the screen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from textual.widgets import Input

from media.tools.reasons import Reason
from tests.clients.fake_backend import BOB, FakeBackend
from tests.clients.pilots import Driver, driven, people, until
from whatsapp_client import MediaDamaged, MediaRefused, Sealed, TooLarge, events
from whatsapp_terminal import file_actions, saving
from whatsapp_terminal.cells import Block
from whatsapp_terminal.composer import Composer
from whatsapp_terminal.conversation import MessagesView
from whatsapp_terminal.explain import explain
from whatsapp_terminal.file_screen import FileScreen
from whatsapp_terminal.halfblocks import UPPER
from whatsapp_terminal.picture_screen import Drawing, PictureScreen

URL = "/media/0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60/content"
MEDIA = URL.split("/")[2]


def picture(colour: str = "#ff0000", size: tuple[int, int] = (150, 150)) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, colour).save(target, "PNG")
    return target.getvalue()


def carried(fake: FakeBackend, kind: str = "image", sender: str = BOB, url: str = URL, **about: Any) -> Any:
    """A message with an encrypted file."""
    given: dict[str, Any] = {"media_type": "image/png", "name": "beach.png", "size": 482_113} | about
    sealed = Sealed(MEDIA, bytes(32), bytes(32), given.pop("size"), **given)
    entry = fake.have("c-bob", "", sender, kind=kind, fields={"mediaUrl": url})
    entry.content = sealed.to_bytes()
    return entry


def blocks(d: Driver) -> list[Block]:
    return d.screen.query_one(MessagesView).blocks


def drawn(d: Driver) -> set[tuple[int, int]]:
    """Colours of the half blocks of the conversation."""
    spans = [span for block in blocks(d) for row in block.rows for span in row if UPPER in span.text]
    return {span.ink for span in spans if span.ink is not None}


async def command(d: Driver, words: str) -> None:
    composer = d.screen.query_one(Composer)
    composer.put(words)
    composer._submit()
    await d.pilot.pause()


async def pick(d: Driver) -> None:
    """The last message."""
    view = d.screen.query_one(MessagesView)
    await until(lambda: view.blocks)
    view.focus()
    view.pick(view.blocks[-1].key)
    await d.pilot.pause()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "beach day.png"
    path.write_bytes(picture())
    return path


async def test_a_file_is_sent_by_a_command_with_its_progress(file: Path) -> None:
    async with driven() as d:
        await d.open()
        await command(d, f'/file "{file}" look at [this]')
        await d.sees("▣ beach day.png", "look at [this]", "Getting ready, encrypted", "Cancel")
        way = d.fake.ways[str(file)]
        way.progress(50, 200)
        await d.sees(" 25 %", "On its way")
        way.end.set()
        await d.loses("Cancel")
        (sent,) = d.fake.pending("c-bob")
        assert sent.kind == "image"
        sealed = Sealed.from_bytes(sent.content)
        assert (sealed.name, sealed.caption) == ("beach day.png", "look at [this]")
        await d.sees("▣ beach day.png", "look at [this]")
        assert d.app.settings.sends == []


async def test_a_file_is_chosen_from_what_is_there(file: Path) -> None:
    (file.parent / "beaches").mkdir()
    (file.parent / ".hidden").write_text("x")
    async with driven() as d:
        await d.open()
        await d.pilot.press("ctrl+o")
        await d.sees("Send a file")
        sheet = d.app.screen
        assert isinstance(sheet, FileScreen)
        sheet.query_one("#path", Input).value = f"{file.parent}/"
        await until(lambda: len(sheet._offered) == 2)
        sheet.query_one("#path", Input).value = f"{file.parent}/bea"
        await d.sees("beaches/", "beach day.png")
        await d.pilot.press("down", "down", "enter")
        await until(lambda: sheet.query_one("#path", Input).value == str(file))
        sheet.query_one("#caption", Input).value = "wish you were here"
        await d.pilot.press("enter")
        await d.sees("wish you were here", "Cancel")


async def test_the_servers_work_is_told(file: Path) -> None:
    async with driven() as d:
        await d.open()
        d.screen._file_chosen(file_actions.Chosen(str(file), "plain", encrypted=False))
        await until(lambda: d.fake.ways)
        way = d.fake.ways[str(file)]
        way.progress(10, 10)
        way.processing(45)
        await d.sees("The server works on it: 45 %")
        way.end.set()
        await until(lambda: d.fake.pending("c-bob"))
        assert d.fake.pending("c-bob")[0].content == b"plain"


async def test_what_is_no_file_is_said_and_the_words_stay(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    async with driven() as d:
        await d.open()
        for words, said in (
            (f"/file {tmp_path}/nothing here", "There is no file"),
            (f"/file {tmp_path}/empty", "This file is empty."),
            ('/file "open', "A quote is not closed."),
        ):
            await command(d, words)
            await d.sees(said)
            assert d.screen.query_one(Composer).text == words
        await command(d, "/files are words")
        assert [outgoing.text for outgoing in d.fake.pending("c-bob")] == ["/files are words"]


async def test_a_file_on_its_way_is_given_up(file: Path) -> None:
    async with driven() as d:
        await d.open()
        await command(d, f'/file "{file}"')
        await d.sees("Cancel")
        await pick(d)
        await d.pilot.press("d")
        await d.loses("Cancel")
        await until(lambda: d.fake.media.given_up == [str(file)])
        assert d.app.settings.sends == []
        assert d.fake.pending("c-bob") == []


async def test_a_refused_file_says_why_and_is_tried_again(file: Path) -> None:
    async with driven() as d:
        await d.open()
        await command(d, f'/file "{file}"')
        await until(lambda: d.fake.ways)
        way = d.fake.ways.pop(str(file))
        way.error = TooLarge(413, "too_large", "A file has at most 16 MB.\x1b[2J")
        way.end.set()
        await d.sees("Not sent: A file has at most 16 MB.", "Retry", "Discard")
        assert "\x1b" not in d.text()
        await pick(d)
        await d.pilot.press("r")
        await until(lambda: d.fake.ways)
        d.fake.ways[str(file)].end.set()
        await until(lambda: d.fake.pending("c-bob"))


async def test_what_the_server_found_in_a_file_is_told_in_words(file: Path) -> None:
    async with driven() as d:
        await d.open()
        d.screen._file_chosen(file_actions.Chosen(str(file), "plain", encrypted=False))
        await until(lambda: d.fake.ways)
        way = d.fake.ways.pop(str(file))
        way.error = MediaRefused(Reason.NOT_ALLOWED)
        way.end.set()
        await d.sees("Not sent: The server does not take files of this kind.", "Retry", "Discard")
        assert "not_allowed" not in d.text()


async def test_a_file_that_staff_have_blocked_is_told_to_its_owner() -> None:
    async with driven() as d:
        await d.open()
        for reason in (None, "unreadable"):
            d.fake.emit(events.Notice("media", {"mediaId": MEDIA, "state": "refused", "reason": reason}))
        d.fake.emit(events.Notice("media", {"mediaId": MEDIA, "state": "refused", "reason": "blocked"}))
        await d.sees("A file of yours is blocked")
        assert len(d.app._notifications) == 1


def test_every_reason_has_words() -> None:
    said = [explain(MediaRefused(reason)) for reason in Reason]
    assert len(set(said)) == len(Reason)
    assert not [words for words in said if "refuses this file" in words]
    assert explain(MediaRefused("newer\x1b[2J")) == "The server refuses this file: newer\ufffd[2J."


async def test_the_next_program_goes_on_and_sends_nothing_twice(file: Path, tmp_path: Path) -> None:
    place = tmp_path / "settings.json"
    fake = people()
    async with driven(fake, settings_path=lambda number: place, number="+15550001") as d:
        await d.open()
        await command(d, f'/file "{file}" first')
        await command(d, f'/file "{file}" second')
        await d.sees("first", "second")
        ids = [send.wish.id for send in d.screen.sends.of("c-bob")]
        await d.app.action_quit()
    # Of the first the message was queued, and the program died before it could say so.
    queued = fake.have("c-bob", "first", "me")
    queued.message_id = ids[0]
    again = people()
    again.logs, again.ways = fake.logs, {}
    async with driven(again, settings_path=lambda number: place, number="+15550001") as d:
        await until(lambda: again.ways)
        (going_on,) = d.screen.sends.of("c-bob")
        assert going_on.wish.id == ids[1]
        again.ways[str(file)].end.set()
        await until(lambda: again.pending("c-bob"))
        assert [outgoing.message_id for outgoing in again.pending("c-bob")] == [ids[1]]
        await until(lambda: d.app.settings.sends == [])


async def test_a_picture_is_drawn_in_its_bubble_and_then_as_a_whole() -> None:
    fake = people()
    carried(fake, caption="at the sea", thumbnail_digest=bytes(32))
    fake.media.thumbnails[URL] = picture("#ff0000")
    fake.media.files[URL, ""] = picture("#0000ff", (300, 200))
    async with driven(fake) as d:
        await d.open()
        await until(lambda: drawn(d) == {(0xFF0000, 0xFF0000)})
        await d.sees("▣ beach.png · 482 KB", "at the sea")
        assert fake.media.asked == [(URL, "thumbnail")]
        await pick(d)
        await d.pilot.press("p")
        await until(lambda: isinstance(d.app.screen, PictureScreen))
        drawing = d.app.screen.query_one(Drawing)
        await until(lambda: drawing.rows and drawing.rows[0][0].ink == (0x0000FF, 0x0000FF))
        assert len(drawing.rows) > 20
        await d.pilot.press("escape")
        await until(lambda: d.app.screen is d.screen)


@pytest.mark.parametrize("data", [b"no picture", picture()[:60], b""])
async def test_what_cannot_be_drawn_is_told_in_words(data: bytes) -> None:
    fake = people()
    carried(fake, thumbnail_digest=bytes(32))
    fake.media.thumbnails[URL] = data
    fake.media.files[URL, ""] = data
    async with driven(fake) as d:
        await d.open()
        await d.sees("▣ beach.png · 482 KB")
        await until(lambda: fake.media.asked)
        await until(lambda: d.screen.previews._running == 0)
        assert drawn(d) == set()
        await pick(d)
        await d.pilot.press("p")
        await d.sees("cannot be drawn")


async def test_a_voice_note_has_its_length_and_its_waveform() -> None:
    fake = people()
    carried(fake, "voice", media_type="audio/ogg", name="", size=4_000)
    fake.media.files[URL, ""] = voice()
    async with driven(fake) as d:
        await d.open()
        await d.sees("♪ Voice note · 1:05 · 4.0 KB", "█", "▁")


def voice() -> bytes:
    """Ogg Opus of 65 s whose second half is louder, as far as its headers say."""

    def page(number: int, position: int, packets: list[int], body: bytes = b"") -> bytes:
        body = body or bytes(sum(packets))
        head = (
            b"OggS\0\0" + position.to_bytes(8, "little") + bytes(4) + number.to_bytes(4, "little") + bytes(4)
        )
        return head + bytes([len(packets)]) + bytes(packets) + body

    head = b"OpusHead\x01\x01" + (312).to_bytes(2, "little") + bytes(7)
    sound = [page(2, 48_000 * 30, [5] * 32), page(3, 48_000 * 65 + 312, [200] * 32)]
    return b"".join([page(0, 0, [len(head)], head), page(1, 0, [8], b"OpusTags"), *sound])


async def test_a_file_is_saved_under_a_free_name_and_opened_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Path] = []
    monkeypatch.setattr(saving, "open_elsewhere", started.append)
    fake = people()
    carried(fake, name="../../.ssh/auth\x1b[31morized\u202egnp.exe/beach.png")
    fake.media.files[URL, ""] = b"the file"
    name = "_.._.ssh_auth_[31morized_gnp.exe_beach.png"
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / name).write_text("mine")
    async with driven(fake) as d:
        d.app.settings.folder = str(tmp_path / "saved")
        await d.open()
        await d.sees("▣ ")
        assert "\x1b" not in d.text()
        await pick(d)
        await d.pilot.press("w")
        free = tmp_path / "saved" / name.replace(".png", " (1).png")
        await until(free.exists)
        await d.sees("Saved as")
        assert started == [], "only on demand"
        await d.pilot.press("x")
        await until(lambda: started == [free])
        assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == sorted([name, free.name])
        assert (tmp_path / "saved" / name).read_text() == "mine"
        assert free.read_bytes() == b"the file"
        assert fake.media.asked.count((URL, "")) == 1, "fetched once"


async def test_what_is_not_the_senders_is_not_kept(tmp_path: Path) -> None:
    fake = people()
    carried(fake, "document")
    fake.media.error = MediaDamaged("these are not the bytes that the sender has encrypted")
    async with driven(fake) as d:
        d.app.settings.folder = str(tmp_path / "saved")
        await d.open()
        await d.sees("▤ beach.png")
        await pick(d)
        await d.pilot.press("w")
        await d.sees("Not saved: these are not the bytes")
        assert list((tmp_path / "saved").iterdir()) == []


async def test_a_hostile_description_breaks_no_row() -> None:
    fake = people()
    evil = "\x1b]0;owned\x07\x9b2J" + "ﷺ" * 50 + "\n\n\n" + "é\u0301" * 200
    carried(fake, name=evil * 20, caption=evil, size=2**62)
    carried(fake, url="https://evil.example/x.png")
    carried(fake, url="/media/0193b2a0-7c00-7a11-8b22-1d2c3b4a5f61/content")  # not what its key is of
    entry = fake.have("c-bob", "", BOB, kind="image", fields={"mediaUrl": URL})
    entry.content = b"\x02\xff\xfe broken \x1b[2J"
    async with driven(fake, size=(60, 24)) as d:
        await d.open()
        await d.settle()
        assert not any(character in d.text() for character in "\x1b\x07\x9b")
        widths = {sum(map(len, line.split("\n"))) > 0 for line in d.text().splitlines()}
        assert widths
        assert all(url == URL for url, _ in fake.media.asked), "no other server is asked, and no other file"


async def test_a_file_is_named_in_the_list_of_chats() -> None:
    fake = people()
    carried(fake, caption="at the sea")
    async with driven(fake) as d:
        await d.sees("Photo: at the sea")
        assert "�" not in d.text()
