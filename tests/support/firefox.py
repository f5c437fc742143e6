"""Debian's Firefox for tests marked ``needs_packages``, driven over WebDriver BiDi (W3C), which it speaks by itself."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import websockets

from tests.support.patience import LONG

PROGRAM: Final = "/usr/bin/firefox-esr"  # devtools/packages.py
#: It asks nobody on the network for anything, and says nothing about itself.
_QUIET: Final = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "data:,",
}


class Page:
    """One tab."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""

    async def begin(self) -> None:
        capabilities = {"alwaysMatch": {"acceptInsecureCerts": True}}
        await self._ask("session.new", capabilities=capabilities)
        tree = await self._ask("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def goto(self, url: str) -> None:
        await self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The JSON value of an expression of JavaScript, awaited."""
        answer = await self._ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    async def _ask(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(LONG):
            while True:
                said = json.loads(await self._socket.recv())
                if said.get("id") == number:
                    assert said["type"] == "success", said
                    return said["result"]


@asynccontextmanager
async def firefox(folder: Path, settings: Mapping[str, str | bool | int]) -> AsyncIterator[Page]:
    """A browser without a window; ``settings``: of about:config."""
    profile = folder / "profile"
    profile.mkdir()
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in {**_QUIET, **settings}.items()]
    (profile / "user.js").write_text("".join(lines))
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(folder), "MOZ_DISABLE_CONTENT_SANDBOX": "1"}, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(LONG):
            while not (
                found := re.search(rb"listening on (ws://\S+)", line := await process.stderr.readline())
            ):
                assert line, "Firefox has ended"
        drained = asyncio.create_task(_drain(process.stderr))
        async with websockets.connect(f"{found[1].decode()}/session", max_size=None) as socket:
            page = Page(socket)
            await page.begin()
            yield page
        drained.cancel()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass
