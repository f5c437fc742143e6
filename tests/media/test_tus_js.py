"""tus-js-client, as it comes, in a real browser: a page of one origin uploads to a system of another one."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from devtools import bootstrap, npm
from tests.gateway.phone import Phone
from tests.media.stored import asked, fetched, offset, reached, someone
from tests.support.browser import chromium
from tests.support.pages import Pages as WebServer
from tests.support.patience import LONG, PATIENCE
from tests.support.stack import System

pytestmark = [pytest.mark.needs_packages, pytest.mark.needs_system, pytest.mark.timeout(400)]

MIB = 2**20
SIZE = 13 * MIB + 77
#: ms between attempts: a gateway takes some seconds to be there again.
RETRIES = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800]
DATA = random.Random(SIZE).randbytes(SIZE)

_PAGE = b"""<!doctype html><meta charset="utf-8"><title>uploads</title><script src="/tus.min.js"></script><script>
async function load() {
  const blob = await (await fetch("/file")).blob();
  window.file = new File([blob], "holiday.bin", {type: "application/octet-stream", lastModified: 1});
}
// Begins; `left` is what came of it. What is given ends it at `stopAt` bytes.
function begin(options, stopAt = Infinity, resume = false) {
  window.said = {url: null, sent: 0, chunks: 0, asked: [], found: null};
  window.left = new Promise(async (resolve) => {
    const upload = window.upload = new tus.Upload(window.file, {
      ...options,
      onBeforeRequest: (request) => { said.asked.push(request.getMethod()); },
      onUploadUrlAvailable: () => { said.url = upload.url; },
      onProgress: (sent) => { said.sent = sent; if (sent >= stopAt) upload.abort().then(() => resolve("left")); },
      onChunkComplete: (size, whole) => { said.chunks += 1; },
      onSuccess: () => { said.url = upload.url; resolve("done"); },
      onError: (error) => resolve(String(error)),
    });
    if (resume) {
      const previous = await upload.findPreviousUploads();
      said.found = previous.map((one) => one.uploadUrl);
      if (previous.length) upload.resumeFromPreviousUpload(previous[0]);
    }
    upload.start();
  });
}
</script>"""


class _Pages(WebServer):
    """A web client's own server: its page, the library and a file that somebody may choose."""

    def __init__(self) -> None:
        files = {"/": ("text/html", _PAGE), "/file": ("application/octet-stream", DATA)}
        library = npm.member(npm.fetch(bootstrap.say)["tus-js-client"], "dist/tus.min.js")
        files["/tus.min.js"] = ("text/javascript", library)
        super().__init__(files)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[_Pages, _Pages]]:
    """The page of a known origin, and the same one of an unknown origin."""
    with _Pages() as known, _Pages() as unknown:
        for server in (known, unknown):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield known, unknown
        for server in (known, unknown):
            server.shutdown()


@pytest.fixture(scope="module")
def system(servers: tuple[_Pages, _Pages]) -> Iterator[System]:
    with System(env={"WEB_ORIGINS": servers[0].origin}) as system:
        yield system


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


class Tab:
    """A page of a web client in which somebody is signed in."""

    def __init__(self, system: System, browser: Any, origin: str, phone: Phone, conversation: str) -> None:
        self.system, self.phone = system, phone
        self.context = browser.new_context()
        self.context.set_default_timeout(LONG * 1000)
        self.metadata = {"fileType": "document", "conversationId": conversation, "encrypted": "true"}
        self.metadata |= {"filename": "Müller, holiday.bin", "filetype": "application/octet-stream"}
        self.origin = origin
        self.open()

    def open(self) -> None:
        """A page that knows nothing but what the browser keeps for its origin."""
        self.page = self.context.new_page()
        self.page.goto(self.origin)
        self.page.evaluate("load()")

    def slow_down(self, bytes_per_s: int) -> None:
        self.context.new_cdp_session(self.page).send(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s},
        )

    def begin(
        self, *, stop_at: int | None = None, resume: bool = False, base: str = "", **options: Any
    ) -> None:
        told = {
            "endpoint": f"{base or self.system.http}/media/tus",
            "headers": {"Authorization": f"Bearer {self.phone.token}"},
            "metadata": self.metadata,
            **options,
        }
        self.page.evaluate(
            "([options, stopAt, resume]) => begin(options, stopAt ?? Infinity, resume)",
            [told, stop_at, resume],
        )

    def ended(self) -> str:
        return str(self.page.evaluate("left"))

    @property
    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("said")
        return found

    def url(self) -> str:
        """Of the upload, once it has one."""
        self.page.wait_for_function("said.url", polling=20)
        return str(self.said["url"])

    def arrived(self) -> bool:
        return fetched(self.phone, self.said["url"]) == DATA


@pytest.fixture
def tab(system: System, browser: Any, servers: tuple[_Pages, _Pages]) -> Iterator[Tab]:
    tab = Tab(system, browser, servers[0].origin, *someone(system))
    yield tab
    tab.context.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": 3 * MIB},
        {"uploadDataDuringCreation": True},
        {"uploadDataDuringCreation": True, "chunkSize": 7 * MIB},
        {"uploadLengthDeferred": True},
        {"uploadLengthDeferred": True, "chunkSize": 5 * MIB},
        {"addRequestId": True, "overridePatchMethod": True, "chunkSize": 8 * MIB},
    ],
    ids=lambda options: ",".join(options) or "plain",
)
def test_a_file_arrives(tab: Tab, options: dict[str, Any]) -> None:
    tab.begin(**options, retryDelays=None)
    assert tab.ended() == "done"
    size = options.get("chunkSize", SIZE)
    assert tab.said["chunks"] == -(-SIZE // size)
    assert tab.arrived()


@pytest.mark.parametrize(
    "options",
    [{}, {"chunkSize": 3 * MIB}, {"uploadLengthDeferred": True, "chunkSize": 2 * MIB}],
    ids=lambda options: ",".join(options) or "plain",
)
def test_a_page_that_was_left_goes_on(tab: Tab, options: dict[str, Any]) -> None:
    """Another page of the same origin finds the upload, asks how far it is, and makes no new one."""
    tab.slow_down(6 * MIB)
    tab.begin(**options, stop_at=7 * MIB)
    assert tab.ended() == "left"
    url = tab.said["url"]
    assert offset(tab.phone, url) < SIZE
    tab.page.close()
    tab.open()
    tab.begin(**options, resume=True)
    assert tab.ended() == "done"
    assert tab.said["found"] == [url]
    assert tab.said["url"] == url
    assert tab.said["asked"][0] == "HEAD"
    assert "POST" not in tab.said["asked"]
    assert tab.arrived()


def test_an_upload_that_is_left_and_begun_again_at_once(tab: Tab) -> None:
    """By its address, while the server may still be at what came before."""
    tab.slow_down(6 * MIB)
    tab.begin(stop_at=7 * MIB)
    assert tab.ended() == "left"
    url = tab.said["url"]
    tab.begin(uploadUrl=url)
    assert tab.ended() == "done"
    assert tab.said["url"] == url
    assert "POST" not in tab.said["asked"]
    assert tab.arrived()


def test_a_given_up_upload_is_deleted(tab: Tab) -> None:
    tab.begin(stop_at=3 * MIB, chunkSize=MIB)
    assert tab.ended() == "left"
    url = tab.said["url"]
    tab.page.evaluate("upload.abort(true)")
    assert asked(tab.phone, "HEAD", url).status_code == 410


def test_a_killed_gateway_costs_nothing_that_was_stored(tab: Tab) -> None:
    tab.slow_down(3 * MIB)
    gateway = tab.system.gateways["gateway-1"]["http"]
    tab.begin(base=gateway, retryDelays=RETRIES)
    url = tab.url().replace(gateway, tab.system.http)
    reached(tab.phone, url, 5 * MIB)
    tab.system.kill("gateway-1")
    assert 5 * MIB <= offset(tab.phone, url) < SIZE
    tab.system.restart("gateway-1")
    assert tab.ended() == "done"
    assert tab.said["asked"].count("POST") == 1
    assert "HEAD" in tab.said["asked"]
    assert tab.arrived()


def test_a_first_request_that_was_killed_goes_on_by_its_name(tab: Tab) -> None:
    """The client has no address yet; the same X-Idempotency-Key brings it, and how far the upload is."""
    tab.slow_down(3 * MIB)
    gateway = tab.system.gateways["gateway-1"]["http"]
    headers = {"Authorization": f"Bearer {tab.phone.token}", "X-Idempotency-Key": str(uuid.uuid4())}
    tab.begin(base=gateway, retryDelays=RETRIES, uploadDataDuringCreation=True, headers=headers)
    mine = (
        f"FROM media_media m JOIN media_upload u ON u.media_id = m.id WHERE m.owner_id = '{tab.phone.user}'"
    )
    deadline = time.monotonic() + PATIENCE
    while not (found := tab.system.sql(f'SELECT m.id {mine} AND u."offset" > 0').strip()):
        assert time.monotonic() < deadline
    tab.system.kill("gateway-1")
    assert tab.said["url"] is None
    tab.system.restart("gateway-1")
    assert tab.ended() == "done"
    assert tab.said["url"].endswith(found)
    assert set(tab.said["asked"]) == {"POST", "PATCH"}
    assert tab.arrived()


def test_a_page_of_an_unknown_origin_uploads_nothing(
    system: System, browser: Any, servers: tuple[_Pages, _Pages]
) -> None:
    tab = Tab(system, browser, servers[1].origin, *someone(system))
    tab.begin(retryDelays=None)
    assert "failed to create upload" in tab.ended()
    assert tab.said["url"] is None
    tab.context.close()
