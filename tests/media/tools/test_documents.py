"""First pages of documents."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from PIL import Image

from media.tools import documents, kinds, sandbox
from media.tools.documents import Limits
from media.tools.folders import Folder
from media.tools.reasons import Reason, Refused
from media.tools.renditions import Name, Rendition
from tests.media.tools import files
from tests.media.tools.boxed import server


def pdf(
    content: str = "0 0 1 rg 0 700 595 142 re f",
    box: str = "0 0 595 842",
    catalog: str = "",
    trailer: str = "",
) -> bytes:
    """A page that is blue above."""
    return (
        f"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R{catalog}>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Contents 4 0 R/Resources<</Font<</F<</Type/Font/Subtype/Type1"
        f"/BaseFont/Helvetica>>>>>>>>endobj\n4 0 obj<</Length {len(content)}>>stream\n{content}\nendstream endobj\n"
        f"trailer<</Root 1 0 R{trailer}>>\n%%EOF\n"
    ).encode()


def preview(
    folder: Folder, tmp_path: Path, content: bytes, declared: str = "", limits: Limits | None = None
) -> list[Rendition]:
    path = tmp_path / "document"
    path.write_bytes(content)
    made = documents.preview(folder, path, kinds.identify(path, declared), limits=limits)
    assert path.read_bytes() == content, "the document itself is passed on as it is"
    return made


def refused(folder: Folder, tmp_path: Path, content: bytes, limits: Limits | None = None) -> Reason:
    with pytest.raises(Refused) as caught:
        preview(folder, tmp_path, content, limits=limits)
    return caught.value.reason


def test_the_first_page_of_a_pdf(folder: Folder, tmp_path: Path) -> None:
    poster, thumb = preview(folder, tmp_path, pdf(), "application/pdf")
    assert (poster.name, poster.media_type, poster.width, poster.height) == (
        Name.POSTER,
        "image/jpeg",
        724,
        1_024,
    )
    assert (thumb.name, thumb.media_type, thumb.width, thumb.height) == (Name.THUMB, "image/jpeg", 150, 150)
    for one in (poster, thumb):
        with Image.open(one.path) as image:
            assert (image.format, image.size) == ("JPEG", (one.width, one.height))
            assert one.size == one.path.stat().st_size
            red, green, blue = image.convert("RGB").getpixel((20, 5))
            assert (red < 30, green < 30, blue > 220) == (True, True, True), "its upper end"
            assert image.convert("RGB").getpixel((20, image.height - 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    "box", ["0 0 1 100000", "0 0 100000 1", "0 0 900000 900000", "-50 -50 50 50", "0 0 0.01 0.01"]
)
def test_pages_of_odd_sizes(folder: Folder, tmp_path: Path, box: str) -> None:
    poster, _ = preview(folder, tmp_path, pdf(box=box))
    assert max(poster.width or 0, poster.height or 0) <= 1_025


def test_what_a_pdf_would_do_is_not_done(folder: Folder, tmp_path: Path) -> None:
    with server() as (port, came):
        action = f"/OpenAction<</S/URI/URI(http://127.0.0.1:{port}/)>>/AA<</O<</S/JavaScript/JS(app.launchURL('http://127.0.0.1:{port}/'))>>>>"
        assert len(preview(folder, tmp_path, pdf(catalog=action))) == 2
        assert came == []


def test_a_password_means_no_preview(folder: Folder, tmp_path: Path) -> None:
    locked = (
        "/ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<" + "00" * 32 + ">/U<" + "00" * 32 + ">>>"
    )
    assert preview(folder, tmp_path, pdf(trailer=locked)) == []


def test_broken_ones(folder: Folder, tmp_path: Path) -> None:
    whole = pdf()
    assert refused(folder, tmp_path, files.PDF) is Reason.UNREADABLE
    assert refused(folder, tmp_path, b"%PDF-1.7\n" + bytes(range(256)) * 50) is Reason.UNREADABLE
    for length in (20, len(whole) // 4, len(whole) // 2):
        assert refused(folder, tmp_path, whole[:length]) is Reason.UNREADABLE


def test_a_stream_that_expands(folder: Folder, tmp_path: Path) -> None:
    """600 MB of nothing in as many kilobytes, where only 256 MB may be had."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"0 0 m 9 9 l S " * 75_000) for _ in range(600)) + packer.flush()
    head, _, tail = pdf("CONTENT").partition(b"<</Length 7>>stream\nCONTENT")
    bomb = head + b"<</Filter/FlateDecode/Length %d>>stream\n" % len(packed) + packed + tail
    process = sandbox.Bounds(cpu_s=5, memory_bytes=256 * 2**20)
    with pytest.raises(Refused) as caught:
        made = preview(folder, tmp_path, bomb, limits=Limits(draw=process))
        raise AssertionError(made)
    assert caught.value.reason in (Reason.RESOURCES, Reason.UNREADABLE)


def test_an_office_document_without_libreoffice(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "OFFICE_PROGRAMS", ("/nonexistent/soffice.bin",))
    assert documents.office_program() is None
    assert preview(folder, tmp_path, files.archive(files.DOCX_MEMBERS)) == []


def odt(body: str) -> bytes:
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{files.ODT}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>'
    )
    content = (
        '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
        'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
        'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0" '
        f'office:version="1.2"><office:body><office:text>{body}</office:text></office:body></office:document-content>'
    )
    return files.archive({"mimetype": files.ODT, "META-INF/manifest.xml": manifest, "content.xml": content})


@pytest.mark.needs_packages
def test_the_first_page_of_a_text(folder: Folder, tmp_path: Path) -> None:
    with server() as (port, came):
        picture = (
            '<text:p><draw:frame svg:width="5cm" svg:height="5cm"><draw:image xlink:type="simple" xlink:show="embed" '
            f'xlink:actuate="onLoad" xlink:href="http://127.0.0.1:{port}/a.png"/></draw:frame></text:p>'
        )
        words = "<text:p>" + "Hello world, " * 200 + "</text:p>"
        poster, thumb = preview(folder, tmp_path, odt(words + picture))
        assert came == [], "what it links to is not fetched"
    assert (poster.name, thumb.name) == (Name.POSTER, Name.THUMB)
    with Image.open(poster.path) as image:
        dark = sum(image.convert("L").point(lambda level: level < 100).histogram()[1:])
        assert dark > 500, "words are seen"
    assert not list(Path("/tmp").glob("OSL_PIPE_*")), "its socket was in its own folder"


@pytest.mark.needs_packages
def test_office_documents_that_fail(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = files.archive({"mimetype": files.ODT, "content.xml": "<no"})
    assert refused(folder, tmp_path, broken) in (Reason.UNREADABLE, Reason.RESOURCES)
    assert refused(folder, tmp_path, odt(""), Limits(office_bytes=10)) is Reason.RESOURCES
    monkeypatch.setattr(sandbox, "_without", {"namespaces"})
    assert preview(folder, tmp_path, odt("")) == [], "it has no /tmp of its own"
