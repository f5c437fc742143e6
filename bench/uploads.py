"""A client that uploads, as small as it can be: what is measured is the server."""

from __future__ import annotations

import base64
import http.client
import json
import time
import uuid
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from bench.generator import LoadError

_POLL_S = 0.25  # asking costs the gateways too
#: A server that says nothing for so long is given up.
_PATIENCE_S = 600.0


@dataclass(frozen=True)
class Uploader:
    """Somebody with a token and a conversation, at one server. For one thread at a time."""

    port: int
    token: str
    conversation: str

    def tus(
        self,
        size: int,
        pieces: Iterable[bytes],
        kind: str = "document",
        media_type: str = "",
        sealed: bool = True,
    ) -> str:
        """Begin an upload and send all of it in one ``PATCH``; the id. ``sealed``: as end-to-end encrypted. Raises
        :class:`LoadError` for any other answer than tus's."""
        told = {"fileType": kind, "conversationId": self.conversation, "encrypted": str(sealed).lower()}
        if media_type:
            told["filetype"] = media_type
        metadata = ",".join(
            f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items()
        )
        begun = self.ask("POST", "/media/tus", {"Upload-Length": str(size), "Upload-Metadata": metadata})
        _expect(begun, 201)
        place = begun[1]["location"]
        headers = {
            "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": str(size),
        }  # fmt: skip
        _expect(self.ask("PATCH", place, headers, pieces), 204)
        return place.rpartition("/")[2]

    def form(self, file: bytes, kind: str, media_type: str) -> str:
        """``POST /media/upload``; the id."""
        boundary = uuid.uuid4().hex
        fields = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("fileType", kind), ("conversationId", self.conversation))
        )
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\nContent-Type: {media_type}\r\n\r\n'
        body = (fields + head).encode() + file + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = _expect(self.ask("POST", "/media/upload", headers, body), 200)
        return str(json.loads(answer[2])["mediaId"])

    def ready(self, media_id: str) -> dict[str, Any]:
        """Wait until it is. Raises :class:`LoadError` when it was refused or nothing comes of it."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            known: dict[str, Any] = json.loads(_expect(self.ask("GET", f"/media/{media_id}", {}), 200)[2])
            if known["state"] == "ready":
                return known
            if known["state"] not in ("stored", "processing"):
                raise LoadError(f"an upload became {known['state']}: {known['reason']}")
            time.sleep(_POLL_S)
        raise LoadError("an upload is not ready")

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | Iterable[bytes] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with small letters, body; on a connection of its own. Raises :class:`LoadError` when it breaks off."""
        sent = {"Authorization": f"Bearer {self.token}", "Tus-Resumable": "1.0.0", **headers}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)) as connection:
            try:
                connection.request(method, path, body=body, headers=sent)
                answer = connection.getresponse()
                return (
                    answer.status,
                    {name.lower(): value for name, value in answer.getheaders()},
                    answer.read(),
                )
            except (OSError, http.client.HTTPException) as error:
                raise LoadError(f"{method} {path} broke off: {type(error).__name__}") from None


def _expect(answer: tuple[int, dict[str, str], bytes], status: int) -> tuple[int, dict[str, str], bytes]:
    if answer[0] != status:
        raise LoadError(f"an upload was answered {answer[0]}: {answer[2][:300]!r}")
    return answer
