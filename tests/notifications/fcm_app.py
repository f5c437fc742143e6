"""An app of FCM: Google's two services, a sender with an account that they know, and what is sent."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from devtools.push_servers.fcm import Google
from notifications.senders.fcm import FcmSender
from notifications.senders.http2 import Times
from notifications.senders.interface import Push, PushApp, Target, Urgency
from tests.support.certificates import Authority
from tests.support.patience import PATIENCE

#: For what comes at once on an idle machine.
PATIENT = Times(connect=PATIENCE, wait=PATIENCE, answer=PATIENCE)
#: For what does not come.
HASTY = Times(connect=PATIENCE, wait=0.5, answer=0.5)


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


@asynccontextmanager
async def at_google(folder: Path) -> AsyncIterator[tuple[Google, Path]]:
    """And the certificate of the authority that vouches for it."""
    authority = Authority(folder, "google")
    async with Google(*authority.sign("fcm", "127.0.0.1")) as google:
        yield google, authority.file


def options(google: Google, ca_file: Path, **fields: Any) -> dict[str, str]:
    """Of an app in ``PUSH_APPS``. ``fields``: of its credentials, instead of the right ones."""
    return {"credentials": google.credentials(**fields), "url": google.url, "ca_file": str(ca_file)}


def made(
    options: dict[str, str], times: Times = PATIENT, now: Callable[[], float] = time.monotonic
) -> FcmSender:
    return FcmSender.from_options(PushApp("android", "fcm", options), times, now)


def target(token: str = "c1:APA91b", **others: Any) -> Target:
    return Target("user", "device", "android", token)._replace(**others)


def push(urgency: Urgency = Urgency.MESSAGE, **others: Any) -> Push:
    return Push(str(uuid.uuid4()), "Zk3_-9", urgency, 3_600, 3)._replace(**others)
