"""Decodes one picture in a process of its own, which has neither our keys nor more than a bounded piece of the machine: a file
that kills or fills its decoder costs nothing but itself.

``python picture_worker.py WIDTH HEIGHT < file``: writes ``W H`` and a line feed, then the pixels of the picture in that box,
three bytes each. Run as a file, with an empty environment."""

from __future__ import annotations

import resource
import sys
import warnings

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MAX_PIXELS = 50_000_000
MEMORY = 1024 * 2**20  # bytes of addresses
SECONDS = 10  # of a processor


def main(width: int, height: int) -> None:
    from PIL import Image, ImageOps

    for limit, most in (
        (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):  # fmt: skip
        resource.setrlimit(limit, (most, most))
    warnings.simplefilter("ignore")
    with Image.open(sys.stdin.buffer, formats=FORMATS) as found:
        if found.width * found.height > MAX_PIXELS:
            sys.exit(3)
        found.draft("RGB", (2 * width, 2 * height))
        upright = ImageOps.exif_transpose(found)
        upright.thumbnail((4 * width, 4 * height))
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            seen = upright.convert("RGBA")
            ground = Image.new("RGBA", seen.size, "#808080")
            upright = Image.alpha_composite(ground, seen)
        small = ImageOps.contain(upright.convert("RGB"), (width, height))
    sys.stdout.buffer.write(b"%d %d\n" % small.size + small.tobytes())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
