"""A photo made small the plain way: ``python bare_picture.py PHOTO FULL.webp THUMB.jpg``; what ours is compared with."""

from __future__ import annotations

import sys

from PIL import Image, ImageOps

LONGEST, SIDE = 4_096, 150


def shrink(source: str, full: str, thumb: str) -> None:
    """The same sizes, formats and qualities as ``media/tools/picture_worker.py``, with Pillow's own ways to them."""
    with Image.open(source) as opened:
        opened.draft("RGB", (LONGEST, LONGEST))
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    picture.save(full, "WEBP", quality=80, method=4)
    ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.LANCZOS).save(
        thumb, "JPEG", quality=82, optimize=True
    )


if __name__ == "__main__":
    shrink(*sys.argv[1:])
