"""Documents: a picture of the first page. The document itself is passed on as it is, and opened nowhere else.

PDFs are drawn by PDFium (ADR 0128). Office documents are turned into a PDF by LibreOffice where that is installed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from media.tools import calls, kinds, sandbox
from media.tools.folders import Folder
from media.tools.kinds import Family, Kind
from media.tools.pictures import THUMB_SIDE, answer
from media.tools.reasons import Missing, Reason, Refused
from media.tools.renditions import Name, Rendition

_WORKER: Final = Path(__file__).with_name("pdf_worker.py")
_POSTER, _THUMB = "poster.jpg", "thumb.jpg"
#: LibreOffice's exit code when it has made its settings and wants to be started again.
_AGAIN: Final = 81
#: Where distributions keep the program itself; ``soffice`` on the path is a shell script that starts it.
OFFICE_PROGRAMS: Final = ("/usr/lib/libreoffice/program/soffice.bin", "/opt/libreoffice/program/soffice.bin")


@dataclass(frozen=True, slots=True)
class Limits:
    """``poster``: pixels of the longest side of the drawn page. ``office_bytes``: of a document that LibreOffice is given."""

    poster: int = 1_024
    office_bytes: int = 64 * 2**20
    draw: sandbox.Bounds = field(
        default_factory=lambda: sandbox.Bounds(cpu_s=20, memory_bytes=2**30, output_bytes=8 * 2**20)
    )
    office: sandbox.Bounds = field(
        default_factory=lambda: sandbox.Bounds(
            cpu_s=60, memory_bytes=3 * 2**30, output_bytes=128 * 2**20, files=256, processes=128
        )
    )


def preview(folder: Folder, source: Path, kind: Kind, *, limits: Limits | None = None) -> list[Rendition]:
    """``poster`` (JPEG of the first page) and ``thumb`` (JPEG, 150×150, its upper end); empty when there can be no preview: a
    password, or an office document on a machine without LibreOffice.

    ``kind`` is a document of :func:`media.tools.kinds.identify`. Raises :class:`Refused` when there is no first page to be seen
    (``unreadable``, ``resources``), :class:`~media.tools.reasons.Unfinished`.
    """
    if kind.family is not Family.DOCUMENT:
        raise ValueError(kind.media_type)
    limits = limits or Limits()
    if kind is not kinds.PDF:
        program = office_program()
        if program is None:
            return []
        try:
            source = _as_pdf(folder, source, kind, program, limits)
        except Missing:
            return []
    done = sandbox.run(
        folder,
        sandbox.Tool(worker=_WORKER, outputs=(_POSTER, _THUMB), calls=calls.of_python()),
        [str(limits.poster), str(THUMB_SIDE)],
        bounds=limits.draw,
        inputs=[folder.take(source)],
    )
    said = answer(done.stdout)
    if said.get("locked") is True:
        return []
    width, height = said.get("width"), said.get("height")
    poster, thumb = folder.made(_POSTER), folder.made(_THUMB)
    if not isinstance(width, int) or not isinstance(height, int) or poster is None or thumb is None:
        raise Refused(Reason.UNREADABLE, "an answer without pictures")
    return [
        Rendition(Name.POSTER, poster, "image/jpeg", poster.stat().st_size, width, height),
        Rendition(Name.THUMB, thumb, "image/jpeg", thumb.stat().st_size, THUMB_SIDE, THUMB_SIDE),
    ]


def office_program() -> str | None:
    """LibreOffice's program, None where it is not installed."""
    return next((path for path in OFFICE_PROGRAMS if shutil.which(path)), None)


def _as_pdf(folder: Folder, source: Path, kind: Kind, program: str, limits: Limits) -> Path:
    """LibreOffice wants a folder for its settings and a ``/tmp`` for its socket; both are the tool's folder, and the document is
    copied there."""
    size = source.stat().st_size
    if size > limits.office_bytes:
        raise Refused(Reason.RESOURCES, "a large document")
    given, made = f"in.{kind.decoder}", "in.pdf"
    folder.put(source, given)
    arguments = [
        *("--headless", "--invisible", "--norestore", "--nolockcheck", "--nodefault", "--nologo"),
        *("-env:UserInstallation=file:///tmp/profile", "--convert-to", "pdf", "--outdir", ".", given),
    ]
    tool = sandbox.Tool(
        program=program,
        children=True,
        local_sockets=True,
        private_tmp=True,
        read=("/etc/libreoffice", "/var/lib/libreoffice"),
        environment={"HOME": "/tmp", "TMPDIR": "/tmp", "GSETTINGS_BACKEND": "memory"},  # noqa: S108 - its own
    )
    try:
        sandbox.run(folder, tool, arguments, bounds=limits.office)
    except Refused as error:
        if error.code != _AGAIN:
            raise
        sandbox.run(folder, tool, arguments, bounds=limits.office)
    found = folder.made(made)
    if found is None:
        raise Refused(Reason.UNREADABLE, "no pages")
    return found
