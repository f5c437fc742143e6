"""tuspy, as it comes: what it does with a server of its own it does with this one."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed
from tusclient.storage.filestorage import FileStorage

from tests.gateway.phone import Phone, Runs
from tests.media.stored import asked, fetched, offset, someone

pytestmark = pytest.mark.needs_system

MIB = 2**20
SIZE = 20 * MIB + 4_321

#: Uploads a file in chunks of 1 MB and says after each how far it is.
_UPLOADER = """
import json, sys
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage
told = json.load(sys.stdin)
uploader = TusClient(told["url"], told["headers"]).uploader(
    told["file"], chunk_size=2**20, metadata=told["metadata"], store_url=True, url_storage=FileStorage(told["urls"])
)
while uploader.offset < uploader.stop_at:
    uploader.upload_chunk()
    print(uploader.offset, flush=True)
"""


class Sender:
    """Somebody with a file of 20 MB and tuspy."""

    def __init__(self, system: Runs, folder: Path) -> None:
        self.phone, conversation = someone(system)
        self.data = random.Random(SIZE).randbytes(SIZE)
        self.file = folder / "file"
        self.file.write_bytes(self.data)
        self.urls = folder / "urls.json"
        self.metadata = {"fileType": "document", "conversationId": conversation, "encrypted": "true"}
        self.metadata |= {"filename": "a holiday, with ümlauts.bin", "filetype": "application/octet-stream"}
        self.headers = {"Authorization": f"Bearer {self.phone.token}"}
        self.url = f"{system.http}/media/tus"

    def uploader(self, **options: Any) -> Any:
        options = {"chunk_size": 3 * MIB, "metadata": self.metadata, **options}
        return TusClient(self.url, self.headers).uploader(str(self.file), **options)

    def storing(self) -> dict[str, Any]:
        """Options that keep the addresses of uploads in a file."""
        return {"store_url": True, "url_storage": FileStorage(str(self.urls))}

    def arrived(self, url: str) -> bool:
        return fetched(self.phone, url) == self.data


@pytest.fixture
def sender(stack: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setenv("NO_PROXY", "*")
    return Sender(stack, tmp_path)


@pytest.mark.parametrize("options", [{}, {"chunk_size": 2**40}, {"upload_checksum": True}], ids=str)
def test_a_file_in_chunks_at_once_and_with_checksums(sender: Sender, options: dict[str, Any]) -> None:
    uploader = sender.uploader(**options)
    uploader.upload()
    assert uploader.offset == SIZE
    assert sender.arrived(uploader.url)


def test_its_other_half_which_is_on_aiohttp(sender: Sender) -> None:
    client = TusClient(sender.url, sender.headers)
    uploader = client.async_uploader(
        str(sender.file), chunk_size=6 * MIB, metadata=sender.metadata, upload_checksum=True
    )
    asyncio.run(uploader.upload())
    assert sender.arrived(uploader.url)


def test_a_killed_client_goes_on_where_the_server_is(sender: Sender) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _UPLOADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        told = {"url": sender.url, "headers": sender.headers, "file": str(sender.file)}
        child.stdin.write(json.dumps({**told, "metadata": sender.metadata, "urls": str(sender.urls)}))
        child.stdin.close()
        said = 0
        while said < 9 * MIB:
            said = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
    assert said < SIZE
    uploader = sender.uploader(**sender.storing())
    assert said <= uploader.offset <= SIZE, "it was told what it lost"
    known = uploader.url
    uploader.upload()
    assert uploader.url == known
    assert sender.arrived(known)


def test_an_upload_is_left_and_taken_up_again(sender: Sender) -> None:
    first = sender.uploader(**sender.storing())
    first.upload(stop_at=8 * MIB)
    again = sender.uploader(url=first.url)
    assert again.offset == first.offset >= 8 * MIB
    again.upload()
    assert sender.arrived(again.url)
    # Of a whole upload it is told that nothing is left to send.
    assert sender.uploader(url=first.url).offset == SIZE


@pytest.mark.parametrize("wrong", [0, 1, 5 * MIB])
def test_a_wrong_offset_is_put_right(sender: Sender, wrong: int) -> None:
    uploader = sender.uploader()
    uploader.upload_chunk()
    uploader.upload_chunk()
    assert uploader.offset == 6 * MIB
    uploader.offset = wrong
    with pytest.raises(TusUploadFailed) as caught:
        uploader.upload_chunk()
    assert caught.value.status_code == 409
    uploader.retries, uploader.retry_delay = 1, 0
    uploader.upload_chunk()
    assert uploader.offset == 9 * MIB
    uploader.upload()
    assert sender.arrived(uploader.url)


def test_an_upload_that_was_given_up_is_not_gone_on_with(sender: Sender) -> None:
    uploader = sender.uploader()
    uploader.upload(stop_at=3 * MIB)
    assert asked(sender.phone, "DELETE", uploader.url).status_code == 204
    with pytest.raises(TusUploadFailed) as failed:
        uploader.upload_chunk()
    assert failed.value.status_code == 410
    with pytest.raises(TusCommunicationError) as unknown:
        sender.uploader(url=uploader.url)
    assert unknown.value.status_code == 410


def test_an_upload_is_of_nobody_else(sender: Sender, stack: Runs) -> None:
    uploader = sender.uploader()
    uploader.upload(stop_at=3 * MIB)
    other: Phone = someone(stack)[0]
    sender.headers = {"Authorization": f"Bearer {other.token}"}
    with pytest.raises(TusCommunicationError) as caught:
        sender.uploader(url=uploader.url)
    assert caught.value.status_code == 404
    assert offset(sender.phone, uploader.url) == 3 * MIB
