"""Draws the first page of a stranger's PDF: what ``confine.py`` loads, before the walls, and calls behind them.

``main``: arguments are the longest side of the drawing and the side of the thumbnail. The file is descriptor 0, of which only
what is needed is read; the two descriptors are for JPEGs. Writes a line of JSON: ``{"width": …, "height": …}``,
``{"refused": reason}``, or ``{"locked": true}`` for a password. Imports nothing of the project.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence

import pypdfium2
from PIL import Image, JpegImagePlugin

LOADED = JpegImagePlugin
QUALITY = 82
#: A page with a word and a line.
_SAMPLE = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 90 90]/Contents 4 0 R/Resources<</Font<</F<</Type/Font/Subtype/Type1"
    b"/BaseFont/Helvetica>>>>>>>>endobj 4 0 obj<</Length 43>>stream\nBT /F 9 Tf 9 9 Td (page) Tj ET 0 0 m 9 9 l S\nendstream "
    b"endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


class Refused(Exception):
    """Its text is one of ``media.tools.reasons.Reason``, or ``locked``."""


def first_page(file: io.RawIOBase | io.BytesIO, longest: int) -> Image.Image:
    """As it would be printed, no side above ``longest``; forms and scripts are left out."""
    try:
        document = pypdfium2.PdfDocument(file)
        page = document[0]
        width, height = page.get_size()
        if not (0 < width < 1e6 and 0 < height < 1e6):
            raise Refused("unreadable")
        drawn = page.render(scale=longest / max(width, height), may_draw_forms=False).to_pil()
    except (Refused, MemoryError):
        raise
    except pypdfium2.PdfiumError as error:
        raise Refused("locked" if "password" in str(error).lower() else "unreadable") from None
    except Exception:
        raise Refused("unreadable") from None
    canvas = Image.new("RGB", drawn.size, "white")
    canvas.paste(drawn.convert("RGB"))
    return canvas


def top(page: Image.Image, side: int) -> Image.Image:
    """A square of the upper end, where a title is."""
    short = min(page.size)
    left = (page.width - short) // 2
    return page.resize(
        (side, side), Image.Resampling.LANCZOS, box=(left, 0, left + short, short), reducing_gap=3.0
    )


def warm() -> None:
    top(first_page(io.BytesIO(_SAMPLE), 64), 8).save(io.BytesIO(), "JPEG", optimize=True)


def main(arguments: Sequence[str], outputs: Sequence[int]) -> int:
    longest, side = map(int, arguments)
    try:
        with io.FileIO(0, closefd=False) as file:
            page = first_page(file, longest)
            for descriptor, image in ((outputs[0], page), (outputs[1], top(page, side))):
                made = io.BytesIO()
                image.save(made, "JPEG", quality=QUALITY, optimize=True)
                left = made.getbuffer()
                while left:
                    left = left[os.write(descriptor, left) :]
            said: dict[str, object] = {"width": page.width, "height": page.height}
    except Refused as error:
        said = {"locked": True} if str(error) == "locked" else {"refused": str(error)}
    os.write(1, json.dumps(said).encode())
    return 0
