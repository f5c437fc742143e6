"""Where this device is notified while it is not connected."""

from __future__ import annotations

import base64
from typing import Any

from .signals import Signals


class Notified(Signals):
    """The part of a :class:`Client` that sets push notifications. Raises :class:`RestError`, :class:`Unreachable`."""

    async def push_apps(self) -> list[dict[str, Any]]:
        """What the server can notify: ``{app, provider, vapidKey?}`` each."""
        return list((await self._read("/push/apps"))["items"])

    async def set_push(
        self,
        app: str,
        token: str,
        *,
        keys: tuple[bytes, bytes] | None = None,
        preview: bool = True,
        quiet: tuple[str, str, str] | None = None,
    ) -> dict[str, Any]:
        """This device is reached there from now on, and nowhere else. To be repeated when the token changes, and with each new
        session: the server forgets it with the old one.

        ``keys``: the device's public key of P-256 (65 bytes, uncompressed) and a secret of 16 bytes, with which previews are
        encrypted (RFC 8291); ``quiet``: ("22:00", "07:00", "Europe/Berlin"). Raises :class:`RestError`: ``feature_disabled``,
        ``bad_request`` (``details`` name the field).
        """
        body: dict[str, Any] = {"app": app, "token": token, "preview": preview}
        if keys is not None:
            public, secret = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in keys)
            body["keys"] = {"p256dh": public, "auth": secret}
        if quiet is not None:
            body["quietHours"] = dict(zip(("from", "until", "timeZone"), quiet, strict=True))
        return dict(await self._do("PUT", self._push_path(), body))

    async def clear_push(self) -> None:
        """This device is notified no more."""
        await self._do("DELETE", self._push_path())

    def _push_path(self) -> str:
        return f"/devices/{self.session.device_id}/push"
