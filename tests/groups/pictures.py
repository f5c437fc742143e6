"""Pictures as people send them, and as attackers do."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from django.test import Client
from PIL import Image

from tests.accounts.conftest import Person


def picture(
    form: str = "JPEG", size: tuple[int, int] = (300, 200), colour: Any = "red", **options: Any
) -> bytes:
    out = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), size, colour).save(out, form, **options)
    return out.getvalue()


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, form, save_all=True, append_images=frames[1:], duration=100)
    return out.getvalue()


def png(width: int, height: int, rows: bytes) -> bytes:
    """A greyscale PNG that says it is so large, whatever it holds (PNG, third edition, section 5)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def put(person: Person, group: str, data: bytes, media_type: str = "image/jpeg", **headers: str) -> Any:
    sent = {"Authorization": f"Bearer {person.token}", **headers}
    client = Client(raise_request_exception=False)
    return client.generic("PUT", f"/groups/{group}/icon", data, content_type=media_type, headers=sent)


def form(*files: tuple[str, bytes, str], extra: bytes = b"") -> tuple[bytes, str]:
    """A form with these files (name, content, media type), and its media type."""
    parts = [
        b'--xx\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\nContent-Type: %s\r\n\r\n%s\r\n'
        % (name.encode(), media_type.encode(), data)
        for name, data, media_type in files
    ]
    return b"".join(parts) + extra + b"--xx--\r\n", "multipart/form-data; boundary=xx"


def shown(person: Person, group: str, size: str = "") -> Any:
    return person.api.get(f"/groups/{group}/icon{size and f'?size={size}'}")


def opened(data: bytes) -> Image.Image:
    found = Image.open(io.BytesIO(data), formats=["JPEG"])
    found.load()
    return found
