"""Files to measure with, made anew each time: photos, a video, a voice note, a document, and bytes without end."""

from __future__ import annotations

import io
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from PIL import Image

#: Bytes of a piece of :func:`noise`.
PIECE: Final = 2**20


def photos(
    count: int, size: tuple[int, int] = (2_304, 1_728), bytes_about: int = 10**6, seed: int = 0
) -> list[bytes]:
    """JPEGs of soft shapes under grain, as a camera makes in a room: of about so many bytes each, no two alike."""
    width, height = size
    chance = random.Random(seed)
    shapes = Image.frombytes("RGB", (32, 24), chance.randbytes(32 * 24 * 3)).resize(
        size, Image.Resampling.BICUBIC
    )
    grain = Image.frombytes("L", (width // 2, height // 2), chance.randbytes((width // 2) * (height // 2)))
    picture = Image.blend(shapes, grain.resize(size, Image.Resampling.BILINEAR).convert("RGB"), 0.25)
    quality = next(
        (quality for quality in range(95, 20, -5) if len(_jpeg(picture, quality)) <= bytes_about * 1.1), 20
    )
    found = []
    for _ in range(count):
        patch = Image.frombytes("RGB", (4, 4), chance.randbytes(48)).resize((200, 200))
        picture.paste(patch, (chance.randrange(width - 200), chance.randrange(height - 200)))
        found.append(_jpeg(picture, quality))
    return found


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def video(path: Path, seconds: int) -> None:
    """1080p at 30 frames a second, H.264 with AAC: moving shapes under grain."""
    _ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=1920x1080:rate=30:duration={seconds},noise=alls=8:allf=t"),
        *("-f", "lavfi", "-i", f"anoisesrc=color=pink:sample_rate=48000:amplitude=0.3:duration={seconds}"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-c:a", "aac", str(path)),
    )  # fmt: skip


def voice(path: Path, seconds: int) -> None:
    """AAC in an M4A, one channel, as phones record it."""
    _ffmpeg(
        *("-f", "lavfi", "-i", f"anoisesrc=color=pink:sample_rate=44100:amplitude=0.3:duration={seconds}"),
        *("-af", "tremolo=f=3:d=0.9", "-ac", "1", "-c:a", "aac", "-b:a", "64k", str(path)),
    )


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-y", "-nostdin", "-v", "error", *arguments], check=True)


def document(pages: int = 20, lines: int = 55) -> bytes:
    """A PDF of plain text."""
    text = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
    shown = "".join(f"({number:04} {text}) Tj T* " for number in range(lines)).encode()
    content = b"BT /F 9 Tf 12 TL 50 790 Td " + shown + b"ET"
    kids = " ".join(f"{5 + number} 0 R" for number in range(pages))
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F 3 0 R>>>>>>"
    return _pdf([
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {pages}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        *[page] * pages,
    ])  # fmt: skip


def _pdf(objects: list[bytes]) -> bytes:
    """With a table of its objects, the first of which is its catalogue (ISO 32000-1, section 7.5)."""
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    return out + end % (len(objects) + 1, table, len(objects) + 1, len(out))


def noise(size: int, seed: int) -> Iterator[bytes]:
    """``size`` bytes in pieces, no two alike, and held by nobody: what is sent is not on the client's disk."""
    body = bytearray(random.Random(seed).randbytes(PIECE))
    for number in range(0, size, PIECE):
        body[:8] = number.to_bytes(8, "big")
        yield bytes(body[: min(PIECE, size - number)])
