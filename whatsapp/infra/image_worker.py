"""Makes small square pictures of a stranger's file, in a process of its own: ``python -I image_worker.py`` and four arguments.

It imports nothing of the project and is told nothing but its arguments: how many pixels it may decode, the format, and the
sides of the squares, largest first. The file is its standard input; it answers on its standard output with a line of JSON,
``{"sizes": […]}`` and then the pictures, or ``{"refused": reason}``. Decoders are where the danger is (OWASP, File Upload
Cheat Sheet), so before it reads a byte it gives up root, and the right to open anything: no file, no socket, no child. Where the
kernel filters system calls, nothing is left but to read, compute and write: a server that is not root itself shares its user
with the worker, and its memory could be read and its files removed without opening one.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import platform
import resource
import struct
import sys
import warnings
from collections.abc import Sequence

from PIL import (
    Image,
    ImageFile,
    ImagePalette,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

#: What is used behind the door has to be loaded before it.
LOADED = (ImagePalette, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)

CPU_S = 5
MEMORY_BYTES = 768 * 2**20  # of addresses, the interpreter's own among them
OUTPUT_BYTES = 4 * 2**20
NOBODY = 65_534
QUALITY = 82

#: What a worker may call: memory, its three open files, the time, its own signals and ids, its end. By machine, as the kernel
#: numbers them (asm/unistd.h); the first number is the machine's own (linux/audit.h).
CALLS = {
    "x86_64": (0xC000003E, (
        # read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64
        0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
        # writev sched_yield mremap madvise nanosleep getpid exit fcntl getuid getgid geteuid getegid sigaltstack gettid
        20, 24, 25, 28, 35, 39, 60, 72, 102, 104, 107, 108, 131, 186,
        # futex clock_gettime clock_nanosleep exit_group newfstatat getrandom rseq
        202, 228, 230, 231, 262, 318, 334,
    )),
    "aarch64": (0xC00000B7, (
        # fcntl ioctl close lseek read write writev pread64 newfstatat fstat exit exit_group futex nanosleep clock_gettime
        25, 29, 57, 62, 63, 64, 66, 67, 79, 80, 93, 94, 98, 101, 113,
        # clock_nanosleep sched_yield sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn
        115, 124, 132, 134, 135, 139,
        # getpid getuid geteuid getgid getegid gettid brk munmap mremap mmap mprotect madvise getrandom rseq
        172, 174, 175, 176, 177, 178, 214, 215, 216, 222, 226, 233, 278, 293,
    )),
}  # fmt: skip
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # prctl(2)
_ALLOW, _PERMISSION, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # seccomp(2): EPERM is 1

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


class Refused(Exception):
    """Its text is one of ``whatsapp.infra.images.Reason``."""


def squares(data: bytes, form: str, pixels: int, sides: Sequence[int]) -> list[bytes]:
    """JPEGs of the middle, ``sides`` pixels wide; the first no wider than the picture is.

    They are drawn on an empty canvas, so nothing of the file but its colours gets through: no EXIF, no position, no text, no
    profile, nothing behind the end. Raises :class:`Refused`.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=[form])
        if picture.width * picture.height > pixels:
            raise Refused("pixels")
        # A JPEG of several pictures is a photo with its depth or a smaller copy; the first one is the photo.
        if form != "JPEG" and getattr(picture, "is_animated", False):
            raise Refused("animated")
        turn = _UPRIGHT.get(_orientation(picture))
        picture.draft("RGB", (sides[0], sides[0]))  # a JPEG is decoded at an eighth, a quarter, a half
        picture.load()
        whole: Image.Image = picture
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused("pixels") from None
    except Exception:
        raise Refused("unreadable") from None
    transparent = whole.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in whole.info
    whole = whole.convert("RGBA" if transparent else "RGB")
    short = min(whole.size)
    left, top = (whole.width - short) // 2, (whole.height - short) // 2
    box = (left, top, left + short, top + short)
    made: list[bytes] = []
    for number, side in enumerate(sides):
        side = min(side, short) if number == 0 else side
        small = whole.resize((side, side), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
        canvas = Image.new("RGB", small.size, "white")
        canvas.paste(small, mask=small.getchannel("A") if transparent else None)
        if turn is not None:
            canvas = canvas.transpose(turn)
        out = io.BytesIO()
        canvas.save(out, "JPEG", quality=QUALITY, optimize=True)
        made.append(out.getvalue())
    return made


def _orientation(picture: ImageFile.ImageFile) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1  # a broken note about a picture does not make it a broken picture


def _warm() -> None:
    """One of each, so that nothing is imported later on."""
    for form in ("JPEG", "PNG", "WEBP"):
        for mode in ("RGB", "P"):
            exif = Image.Exif()
            exif[_ORIENTATION] = 6
            out = io.BytesIO()
            Image.new(mode if form != "JPEG" else "RGB", (8, 8)).save(out, form, exif=exif)
            squares(out.getvalue(), form, 64, (4, 2))


def _lock() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    for what, amount in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, OUTPUT_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),  # the three that are open stay
    ):
        resource.setrlimit(what, (amount, amount))
    _filter_calls()


def _filter_calls() -> None:
    """Every call but those of :data:`CALLS` is refused from here on, where the kernel can do that and the machine is known."""
    if platform.machine() not in CALLS:
        return
    machine, calls = CALLS[platform.machine()]
    load, equals, answer = 0x20, 0x15, 0x06  # BPF: a word of the call's description, jump if equal, end
    steps = [(load, 0, 0, 4), (equals, 1, 0, machine), (answer, 0, 0, _KILL), (load, 0, 0, 0)]
    for place, call in enumerate(calls):
        steps.append((equals, len(calls) - place, 0, call))
    steps += [(answer, 0, 0, _PERMISSION), (answer, 0, 0, _ALLOW)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    described = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(program)))
    prctl = ctypes.CDLL(None).prctl
    if prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        prctl(_SECCOMP, _FILTER, described, 0, 0)


def main(pixels: str, form: str, *sides: str) -> None:
    Image.MAX_IMAGE_PIXELS = int(pixels)
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    _warm()
    _lock()
    try:
        made = squares(sys.stdin.buffer.read(), form, int(pixels), [int(side) for side in sides])
        head: dict[str, object] = {"sizes": [len(one) for one in made]}
    except Refused as error:
        made, head = [], {"refused": str(error)}
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + b"".join(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
