"""The first page of a PDF drawn the plain way: ``python bare_pdf.py PDF POSTER.jpg THUMB.jpg``; what ours is compared with."""

from __future__ import annotations

import sys

import pypdfium2
from PIL import Image, ImageOps

LONGEST, SIDE = 1_024, 150


def draw(source: str, poster: str, thumb: str) -> None:
    """The same sizes and quality as ``media/tools/pdf_worker.py``."""
    page = pypdfium2.PdfDocument(source)[0]
    picture = page.render(scale=LONGEST / max(page.get_size())).to_pil().convert("RGB")
    picture.save(poster, "JPEG", quality=82, optimize=True)
    ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.LANCZOS, centering=(0.5, 0.0)).save(
        thumb, "JPEG", quality=82, optimize=True
    )


if __name__ == "__main__":
    draw(*sys.argv[1:])
