"""Makes a stranger's picture anew: what ``confine.py`` loads, before the walls, and calls behind them.

``main``: arguments are Pillow's name of the format, how many pixels may be decoded, how many a JPEG may have that is decoded
smaller, ``longest`` or ``shortest`` and how many pixels that side may have, and for each descriptor 0 (a WebP of the whole) or
the side of a square JPEG. The file is descriptor 0. Writes a line of JSON: ``{"width": …, "height": …}`` or
``{"refused": reason}``. Imports nothing of the project.
"""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Sequence

from PIL import (
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

#: What is used behind the walls has to be loaded before them.
LOADED = (
    GifImagePlugin,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

WEBP_QUALITY = 80
THUMB_QUALITY = 82
_ORIENTATION = 0x0112
#: What turns a picture of each EXIF orientation upright (Exif 2.32, section 4.6.4).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SRGB = ImageCms.createProfile("sRGB")


class Refused(Exception):
    """Its text is one of ``media.tools.reasons.Reason``."""


def anew(data: bytes, form: str, pixels: int, jpeg_pixels: int, fit: tuple[str, int]) -> Image.Image:
    """The picture on a new canvas, upright, no larger than ``fit`` says (``longest`` or ``shortest``, and pixels of that side),
    in the colours of sRGB: nothing of the file but what is seen gets through. Raises :class:`Refused`."""
    try:
        picture = Image.open(io.BytesIO(data), formats=[form])
        if picture.width * picture.height > (jpeg_pixels if form == "JPEG" else pixels):
            raise Refused("pixels")
        # A JPEG of several pictures is a photo with its depth or a smaller copy; the first one is the photo.
        if form != "JPEG" and getattr(picture, "is_animated", False):
            raise Refused("animated")
        turn = _UPRIGHT.get(_orientation(picture))
        # A JPEG that is too large anyway is decoded at an eighth, a quarter or half of its size.
        scale = min(1.0, fit[1] / (max if fit[0] == "longest" else min)(picture.size))
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        if scale < 1:
            picture.draft("RGB", size)
        if picture.width * picture.height > pixels:
            raise Refused("pixels")
        picture.load()
        whole: Image.Image = picture
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused("pixels") from None
    except MemoryError:
        raise
    except Exception:
        raise Refused("unreadable") from None
    profile = whole.info.get("icc_profile")
    transparent = whole.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in whole.info
    if transparent:
        whole = whole.convert("RGBA")
    elif whole.mode not in ("RGB", "CMYK"):
        whole = whole.convert("RGB")
    if whole.size != size:
        whole = whole.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    whole = _in_srgb(whole, profile)
    canvas = Image.new(whole.mode, whole.size)
    canvas.paste(whole)
    return canvas if turn is None else canvas.transpose(turn)


def thumbnail(picture: Image.Image, side: int) -> Image.Image:
    """The middle of it as a square, white where it is seen through. ``picture`` is decoded already: another decoding at an eighth
    of the size would cost more than this."""
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    small = picture.resize(
        (side, side), Image.Resampling.LANCZOS, box=(left, top, left + short, top + short), reducing_gap=3.0
    )
    canvas = Image.new("RGB", small.size, "white")
    canvas.paste(small, mask=small.getchannel("A") if small.mode == "RGBA" else None)
    return canvas


def _orientation(picture: ImageFile.ImageFile) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1  # a broken note about a picture does not make it a broken picture


def _in_srgb(picture: Image.Image, profile: object) -> Image.Image:
    """Phones write Display P3: without its profile such a photo is pale. A broken profile is as good as none."""
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    if isinstance(profile, bytes) and profile:
        try:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(given):
                changed = ImageCms.profileToProfile(picture, given, _SRGB, outputMode=mode)
                if changed is not None:
                    return changed
        except Exception:
            return picture.convert(mode)
    return picture.convert(mode)


def warm() -> None:
    """One of each, so that nothing is imported later on."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for form, mode in (
        ("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("PNG", "LA"), ("WEBP", "RGBA"), ("GIF", "P"),
    ):  # fmt: skip
        exif = Image.Exif()
        exif[_ORIENTATION] = 6
        out = io.BytesIO()
        Image.new(mode, (8, 8)).save(out, form, exif=exif, icc_profile=profile)
        made = anew(out.getvalue(), form, 64, 64, ("longest", 4))
        made.save(io.BytesIO(), "WEBP", quality=WEBP_QUALITY)
        thumbnail(made, 2).save(io.BytesIO(), "JPEG", optimize=True)


def main(arguments: Sequence[str], outputs: Sequence[int]) -> int:
    form, pixels, jpeg_pixels, how, side, *wanted = arguments
    Image.MAX_IMAGE_PIXELS = max(int(pixels), int(jpeg_pixels))
    try:
        with io.FileIO(0, closefd=False) as file:
            picture = anew(file.readall(), form, int(pixels), int(jpeg_pixels), (how, int(side)))
        for number, (descriptor, size) in enumerate(zip(outputs, map(int, wanted), strict=True)):
            if size == 0:
                _write(descriptor, picture, "WEBP", quality=WEBP_QUALITY, method=4)
                continue
            if number == 0:
                size = min(size, *picture.size)
            _write(descriptor, thumbnail(picture, size), "JPEG", quality=THUMB_QUALITY, optimize=True)
        said: dict[str, object] = {"width": picture.width, "height": picture.height}
    except Refused as error:
        said = {"refused": str(error)}
    os.write(1, json.dumps(said).encode())
    return 0


def _write(descriptor: int, image: Image.Image, form: str, **options: object) -> None:
    with io.BytesIO() as made:
        try:
            image.save(made, form, **options)
        except (OSError, ValueError) as error:  # how encoders say that there is no memory
            raise MemoryError from error
        left = made.getbuffer()
        while left:
            left = left[os.write(descriptor, left) :]
        del left
