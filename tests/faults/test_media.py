"""Media in a whole system whose worker, beat, broker, bucket, scanner or database dies or hangs: nothing that is stored is lost,
everything comes to its end, nothing is left behind, and text messages go on."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devtools.clamd import EICAR
from tests.faults.album import MIB, UPLOADS, WAITING_MS, Album, album, clip, some_bytes, system
from tests.faults.rig import Rig, stays
from tests.media.test_process import photo
from tests.support import early
from tests.support.patience import LONG, until
from whatsapp.wire import frames

pytestmark = [pytest.mark.needs_system, pytest.mark.needs_s3, pytest.mark.needs_packages]

#: Beat has looked some times.
LOOKED_S = 4 * WAITING_MS / 1000


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where workers keep what they work on."""
    return early.folder("media-work")


@pytest.fixture(scope="module")
def rig(folder: Path) -> Iterator[Rig]:
    with system(folder) as running:
        yield Rig(running)


fault = pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])


async def ends(made: Album, name: str, fault: int) -> None:
    if fault == signal.SIGKILL:
        made.rig.system.kill(name)
    else:
        made.freeze(name)


async def comes_back(made: Album, name: str, fault: int) -> None:
    if fault == signal.SIGKILL:
        await made.run(name)
    else:
        made.thaw(name)


def wait(rig: Rig, *media: str) -> bool:
    """Whether work on these has begun and was put off: for something that is away."""
    names = ", ".join(f"'{one}'" for one in media)
    put_off = f"id IN ({names}) AND state = 'processing' AND worker IS NULL"
    return int(rig.system.sql(f"SELECT count(*) FROM media_media WHERE {put_off}")) == len(media)


# -- the worker, beat, the broker


def working(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def killed_at_work(made: Album, folder: Path, file: Path) -> str:
    """A video whose worker was killed while it made it anew; another one has started."""
    media = await made.sent(clip(file, 10), "video", "video/mp4")

    await made.ann.take(
        lambda frame: isinstance(frame, frames.Notice) and frame.data["percent"] > 0, "it is being made", LONG
    )
    assert working(folder), "here"
    made.rig.system.kill("worker-1")
    assert await made.state(media) == "processing"
    await until(lambda: not working(folder), "its folder goes with it", LONG)
    return media


async def lost(made: Album, folder: Path, file: Path) -> tuple[str, list[str]]:
    """A video whose worker was killed at it, and pictures that nobody has looked at when their tasks are lost with the broker."""
    film = await killed_at_work(made, folder, file)
    waiting = [await made.sent(photo((300 + n, 200))) for n in range(3)]
    made.rig.hot.flushall()
    await made.run("worker-1")
    made.later()
    return film, waiting


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_worker_that_is_killed_is_followed_and_uploads_outlive_the_broker(
    rig: Rig, folder: Path, tmp_path: Path
) -> None:
    async with album(rig) as made:
        film, waiting = await lost(made, folder, tmp_path / "clip.mp4")
        for media in (film, *waiting):
            await made.becomes(media, "ready")
        assert (await made.known(film))["percent"] == 100
        assert (await made.fetched(film, rendition="720p"))[4:8] == b"ftyp"
        await made.nothing_is_left(folder)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_twin_without_beat_nobody_follows_and_they_wait(rig: Rig, folder: Path, tmp_path: Path) -> None:
    """And it is no more than that: beat is started again, and all are made."""
    async with album(rig) as made:
        rig.system.kill("beat")
        film, waiting = await lost(made, folder, tmp_path / "clip.mp4")
        await stay_so(made, {film: "processing", waiting[0]: "stored"})
        await made.run("beat")
        for media in (film, *waiting):
            await made.becomes(media, "ready")


async def stay_so(made: Album, states: dict[str, str]) -> None:
    """While beat would have looked some times."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LOOKED_S
    while loop.time() < ends_at:
        assert {media: await made.state(media) for media in states} == states
        await asyncio.sleep(0.2)


# -- the bucket


@fault
@pytest.mark.timeout(240)
async def test_a_bucket_that_is_away(rig: Rig, folder: Path, fault: int) -> None:
    """Uploads are told so and go on where they were, work waits, text messages pass."""
    data = some_bytes(13 * MIB)
    async with album(rig) as made:
        path = await made.begin(len(data))
        answer = await made.tus.send(path, 0, data[: 6 * MIB])
        assert answer.status_code == 204, answer.text
        made.freeze("worker-1")
        waiting = await made.sent(photo())
        await ends(made, "s3", fault)
        made.thaw("worker-1")
        for refused in (
            await made.post(photo(), "image", "image/jpeg"),
            await made.tus.send(path, 6 * MIB, data[6 * MIB :]),
        ):
            assert refused.status_code == 503, refused.text
            assert (refused.json()["code"], refused.json()["retryAfterMs"] > 0) == ("unavailable", True)
        await made.text_goes_on()
        await until(lambda: wait(rig, waiting), "the worker has noticed", LONG)
        assert await made.state(waiting) == "processing"
        offset = await made.tus.offset(path)
        assert offset >= 5 * MIB, "what is safe is safe"
        await comes_back(made, "s3", fault)

        async def goes_on() -> bool:
            at = await made.tus.offset(path)
            return (await made.tus.send(path, at, data[at:])).status_code == 204

        await until(goes_on, "the upload goes on", LONG)
        media = path.rpartition("/")[2]
        made.later()
        await made.becomes(media, "ready")
        assert await made.fetched(media) == data
        await made.becomes(waiting, "ready")
        # A bucket that was frozen may store what was refused: its row is still there, for the sweep of every hour.
        refused_ids = rig.system.sql("SELECT media_id FROM media_upload").split() or ["none"]
        await made.nothing_is_left(folder, but="|".join(f"incoming/{one}" for one in refused_ids))


@pytest.mark.timeout(240)
async def test_a_frozen_bucket_piles_nothing_up(rig: Rig) -> None:
    """Of many uploads at once a process takes some, and tells the others so before it reads them."""
    data = some_bytes(4 * MIB)
    name, most = "gateway-1", 20 * UPLOADS
    address = rig.system.gateways[name]["http"]
    async with album(rig) as made:
        before = measured(rig, name)
        made.freeze("s3")
        posts = [
            made.post(data, "document", "application/pdf", address, encrypted="true") for _ in range(most)
        ]
        sending = asyncio.gather(*posts)
        seen = [before]
        while not sending.done():
            seen.append(measured(rig, name))
            await asyncio.sleep(0.05)
        answers = await sending
        assert {answer.status_code for answer in answers} == {503}
        assert any("Too many files" in answer.text for answer in answers), "it was full"
        memory = max(held for _, held in seen) - before[1]
        assert memory < most * len(data) / 4, f"{memory / MIB:.0f} MiB"
        await made.text_goes_on()
        after = measured(rig, name)
        assert after[0] <= before[0] + 2 * UPLOADS, "threads stay"


def measured(rig: Rig, name: str) -> tuple[int, int]:
    """Threads of a process, and bytes that it holds."""
    status = Path(f"/proc/{rig.system.processes[name]}/status").read_text()
    threads, memory = (re.search(rf"{what}:\s+(\d+)", status) for what in ("Threads", "VmRSS"))
    assert threads is not None
    assert memory is not None
    return int(threads[1]), 1024 * int(memory[1])


# -- the scanner


@fault
@pytest.mark.timeout(240)
async def test_a_scanner_that_is_away(rig: Rig, folder: Path, fault: int) -> None:
    """Nothing passes unscanned; everything ends as it has to when it is back."""
    async with album(rig) as made:
        await ends(made, "clamd", fault)
        good = await made.sent(photo())
        bad = await made.sent(EICAR, "document", "application/pdf")
        await until(lambda: wait(rig, good, bad), "both wait", LONG)
        await made.text_goes_on()
        for media in (good, bad):
            assert await made.state(media) == "processing"
            answer = await made.phone.rest("GET", f"/media/{media}/content")
            assert answer.status_code == 503, answer.text
        await comes_back(made, "clamd", fault)
        made.later()
        await made.becomes(good, "ready")
        assert (await made.becomes(bad, "refused"))["reason"] == "infected"
        await made.nothing_is_left(folder)


# -- the database


@fault
@pytest.mark.timeout(240)
async def test_an_upload_goes_on_behind_an_outage_of_the_database(rig: Rig, folder: Path, fault: int) -> None:
    data = some_bytes(17 * MIB)
    async with album(rig) as made:
        path = await made.begin(len(data))
        answer = await made.tus.send(path, 0, data[: 6 * MIB])
        assert answer.status_code == 204, answer.text
        away = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield data[6 * MIB : 12 * MIB]
            await away.wait()
            yield data[12 * MIB :]

        sending = asyncio.create_task(made.patch(path, 6 * MIB, len(data) - 6 * MIB, body()))

        async def arrives() -> bool:
            return await made.tus.offset(path) >= 10 * MIB

        await until(arrives, "some of it is safe", LONG)
        await ends(made, "postgres", fault)
        away.set()
        if fault == signal.SIGKILL:
            assert await sending == 503
        else:
            await stays(
                lambda: not sending.done() or sending.result() == 503, "nothing is said to be stored", 3
            )
        await comes_back(made, "postgres", fault)
        await sending

        async def goes_on() -> bool:
            head = await made.tus.ask("HEAD", path)
            if head.status_code != 200:  # 423: pools find out one by one that their connections have ended
                return False
            at = int(head.headers["Upload-Offset"])
            assert at >= 10 * MIB, "what is safe is safe"
            return at == len(data) or (await made.tus.send(path, at, data[at:])).status_code == 204

        await until(goes_on, "the upload goes on", LONG)
        media = path.rpartition("/")[2]

        await made.becomes(media, "ready")
        assert await made.fetched(media) == data
        # What was stored and could not be written down is found by the storage's own sweep, after a day.
        await made.nothing_is_left(folder, but=rf"incoming/{media}\.tail-\d+")
