"""A real browser for tests marked ``needs_packages``: Debian's Chromium, driven by playwright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROGRAM = "/usr/bin/chromium"  # devtools/packages.py
#: ``--no-sandbox``: tests run as root. ``--disable-dev-shm-usage``: containers have a /dev/shm of 64 MB.
_ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
_TRIES = 3
_LAUNCH_MS = 60_000


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser (playwright's sync API); closed at the end, whatever happens in between."""
    from playwright.sync_api import (  # not everybody who runs tests has its driver started
        Error,
        sync_playwright,
    )

    with sync_playwright() as playwright:
        browser = None
        for left in reversed(range(_TRIES)):
            try:
                browser = playwright.chromium.launch(
                    executable_path=PROGRAM, args=_ARGUMENTS, timeout=_LAUNCH_MS
                )
                break
            except Error:
                if not left:
                    raise
        assert browser is not None
        try:
            yield browser
        finally:
            browser.close()
