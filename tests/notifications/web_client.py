"""A web client in Firefox, with the reference service worker: its own server, and what stands on the screen."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.notifications.webpush_app import Service
from tests.support.firefox import Page, firefox
from tests.support.pages import Pages as WebServer
from tests.support.patience import LONG, until

WEB = Path(__file__).parents[2] / "clients" / "web"

_PAGE = b"""<!doctype html><meta charset="utf-8"><title>chat</title><script type="module">
import {registerPush, subscribe} from "/push.js";
window.told = [];
navigator.serviceWorker.addEventListener("message", (event) => told.push(event.data));
navigator.serviceWorker.startMessages();
window.worker = navigator.serviceWorker.register("/worker.js").then(() => navigator.serviceWorker.ready);
window.subscribed = async (key) => (await subscribe(await worker, key)).toJSON();
window.registered = async (session) => registerPush(await worker, session);
window.shown = async () => (await (await worker).getNotifications()).map(({title, body, tag}) => ({title, body, tag}));
window.ready = true;
</script>"""

#: A client's own worker: it says what is written, and has an icon with a number.
_WORKER = b"""
self.describe = async ({content}) => {
  if (content?.text) return {title: "Ada", body: content.text};
  const body = content?.frame?.encryptedContent;
  return body ? {title: "somebody", body: new TextDecoder().decode(Uint8Array.from(atob(body), (c) => c.charCodeAt(0)))} : null;
};
let badge = null;
navigator.setAppBadge = async (number) => { badge = number; };
self.addEventListener("message", (event) => event.source.postMessage({type: "icon", badge}));
importScripts("service-worker.js");
"""


_ONCE = b"if (said.id && (await shownBefore(said))) return;"


class Pages(WebServer):
    """A web client's own server. Not ``once``: its worker shows whatever comes."""

    def __init__(self, *, once: bool = True) -> None:
        worker = (WEB / "service-worker.js").read_bytes()
        if not once:
            assert _ONCE in worker
            worker = worker.replace(_ONCE, b"")
        files = {
            "/": ("text/html", _PAGE),
            "/worker.js": ("text/javascript", _WORKER),
            "/push.js": ("text/javascript", (WEB / "push.js").read_bytes()),
            "/service-worker.js": ("text/javascript", worker),
        }
        super().__init__(files)


@contextmanager
def served(*, once: bool = True) -> Iterator[Pages]:
    with Pages(once=once) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield pages
        pages.shutdown()


@asynccontextmanager
async def opened(folder: Path, service: Service, pages: Pages) -> AsyncIterator[Page]:
    """A tab of the client, in a browser that has this push service and may show notifications."""
    settings: dict[str, str | bool | int] = {
        "alerts.useSystemBackend": False,  # there is no desktop that would show them
        "dom.push.connection.enabled": True,
        "dom.push.serverURL": service.websocket,
        "dom.push.testing.allowInsecureServerURL": True,
        "permissions.default.desktop-notification": 1,
    }
    async with firefox(folder, settings) as page:
        await page.goto(pages.origin)
        await until(lambda: page.evaluate("window.ready"), "the page has loaded", LONG)
        yield page


async def shows(page: Page, wanted: list[dict[str, str]]) -> None:
    async def are() -> bool:
        found = await page.evaluate("shown()")
        return sorted(one["tag"] for one in found) == [one["tag"] for one in wanted] and all(
            one in found for one in wanted
        )

    await until(are, f"Firefox shows {wanted}", LONG)


async def icon(page: Page, badge: int) -> None:
    async def found() -> bool:
        await page.evaluate("worker.then((there) => there.active.postMessage({}))")
        told = await page.evaluate("told")
        return {"type": "icon", "badge": badge} in told and {"type": "badge", "badge": badge} in told

    await until(found, f"the icon shows {badge}", LONG)
