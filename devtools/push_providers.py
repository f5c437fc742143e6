"""Providers of push notifications beside a system, for who has no account with Apple or Google: ``./dev up --push``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from devtools import ports
from devtools.paths import REPO, DataFolder
from devtools.processes import Child, Spec

NAME: Final = "push-providers"
#: What its process prints when it takes pushes.
READY: Final = "push providers ready"
#: What the two sides agree on beside the keys, as a developer account of Apple would show it.
TOPIC: Final = "org.example.messenger"
KEY_ID: Final = "ABC123DEFG"
TEAM_ID: Final = "DEF123GHIJ"


class PushProviders:
    """A process that is both APNs and FCM (:mod:`devtools.push_servers.local`) and writes down what they accept, and the apps
    ``ios``, ``android`` and ``web``. Browsers have push services of their own, so ``web`` has a key and no server."""

    def __init__(self, data: DataFolder, *, python: Path, env: dict[str, str]) -> None:
        self._data = data
        self._folder = data.root / "push"
        self._python = python
        self._env = env
        self._apns = ports.remembered(self._folder / "apns.port")
        self._fcm = ports.remembered(self._folder / "fcm.port")

    @property
    def spec(self) -> Spec:
        return Spec(
            name=NAME,
            argv=[
                str(self._python), "-m", "devtools.push_servers.local", "--folder", str(self._folder),
                "--out", str(self._data.pushes), "--apns", str(self._apns), "--fcm", str(self._fcm),
            ],
            env={**self._env, "PYTHONUNBUFFERED": "1"},
            cwd=REPO,
            log=self._data.logs / f"{NAME}.log",
            ready=_is_ready,
            stop_timeout=5,
        )  # fmt: skip

    def variables(self) -> dict[str, str]:
        """What the application's processes get. The files are there when the process is ready."""
        certificate = str(self._folder / "certificate.pem")
        return {
            "PUSH_APPS": "ios,android,web",
            "PUSH_IOS_PROVIDER": "apns",
            "PUSH_IOS_KEY_FILE": str(self._folder / "apns.p8"),
            "PUSH_IOS_KEY_ID": KEY_ID,
            "PUSH_IOS_TEAM_ID": TEAM_ID,
            "PUSH_IOS_TOPIC": TOPIC,
            "PUSH_IOS_URL": f"https://127.0.0.1:{self._apns}",
            "PUSH_IOS_CA_FILE": certificate,
            "PUSH_ANDROID_PROVIDER": "fcm",
            "PUSH_ANDROID_CREDENTIALS_FILE": str(self._folder / "service-account.json"),
            "PUSH_ANDROID_URL": f"https://127.0.0.1:{self._fcm}",
            "PUSH_ANDROID_CA_FILE": certificate,
            "PUSH_WEB_PROVIDER": "webpush",
            "PUSH_WEB_KEY_FILE": str(self._folder / "vapid.pem"),
            "PUSH_WEB_SUBJECT": "mailto:developer@example.org",
        }


def _is_ready(child: Child) -> bool:
    return READY in child.output()
