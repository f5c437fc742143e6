"""What a file is taken for, and what is not taken."""

from __future__ import annotations

import contextlib
import random
import struct
import zipfile
from pathlib import Path

import pytest

from media.tools import kinds
from media.tools.kinds import identify
from media.tools.reasons import Reason, Refused
from tests.media.tools import files

GOOD = [
    (files.picture("JPEG"), "image/jpeg", kinds.JPEG),
    (files.picture("JPEG"), "IMAGE/JPG; name=x", kinds.JPEG),
    (files.picture("PNG"), "image/png", kinds.PNG),
    (files.picture("WEBP"), "image/webp", kinds.WEBP),
    (files.picture("GIF"), "image/gif", kinds.GIF),
    (files.mp4(), "video/mp4", kinds.MP4),
    (files.mp4(handlers=(b"soun", b"vide")), "", kinds.MP4),
    (files.mp4(brand=b"qt  "), "video/quicktime", kinds.MOV),
    (files.mp4(brand=b"qt  "), "video/mp4", kinds.MP4),
    (files.mp4(brand=b"M4A ", handlers=(b"soun",)), "audio/mp4", kinds.M4A),
    (files.mp4(handlers=(b"soun",)), "application/octet-stream", kinds.M4A),
    (files.ebml(b"webm"), "video/webm", kinds.WEBM),
    (files.ebml(b"webm"), "audio/webm;codecs=opus", kinds.WEBM_AUDIO),
    (files.ebml(b"matroska"), "video/x-matroska", kinds.MKV),
    (files.OPUS, "audio/ogg; codecs=opus", kinds.OGG),
    (files.MP3 * 3, "audio/mpeg", kinds.MP3),
    (b"ID3\x04" + bytes(30), "audio/mpeg", kinds.MP3),
    (files.WAV, "audio/x-wav", kinds.WAV),
    (files.PDF, "application/pdf", kinds.PDF),
    (files.archive(files.DOCX_MEMBERS), files.DOCX, kinds.OFFICE["docx"]),
    (files.archive({"mimetype": files.ODT, "content.xml": "<x/>"}), files.ODT, kinds.OFFICE["odt"]),
]


def asked(tmp_path: Path, content: bytes, declared: str) -> kinds.Kind:
    path = tmp_path / "file"
    path.write_bytes(content)
    return identify(path, declared)


def refused(tmp_path: Path, content: bytes, declared: str = "") -> Reason:
    with pytest.raises(Refused) as caught:
        asked(tmp_path, content, declared)
    return caught.value.reason


@pytest.mark.parametrize(
    ("content", "declared", "kind"),
    GOOD,
    ids=[f"{kind.media_type}-{number}" for number, (_, _, kind) in enumerate(GOOD)],
)
def test_what_is_on_the_list(tmp_path: Path, content: bytes, declared: str, kind: kinds.Kind) -> None:
    assert asked(tmp_path, content, declared) is kind
    assert asked(tmp_path, content, "").family in kinds.Family
    for other in ("text/html", "image/svg+xml", "application/zip", "video/mp2t", "x" * 10_000):
        assert refused(tmp_path, content, other) is Reason.MISMATCH


@pytest.mark.parametrize(
    ("content", "declared", "kind"),
    GOOD,
    ids=[f"{kind.media_type}-{number}" for number, (_, _, kind) in enumerate(GOOD)],
)
def test_cut_at_any_byte_it_is_the_same_kind_or_refused(
    tmp_path: Path, content: bytes, declared: str, kind: kinds.Kind
) -> None:
    for length in {*range(min(80, len(content))), *range(0, len(content), max(1, len(content) // 40))}:
        found: object
        try:
            found = asked(tmp_path, content[:length], declared)
        except Refused as error:
            found = error.reason
        assert found in (kind, Reason.EMPTY, Reason.NOT_ALLOWED, Reason.UNREADABLE, Reason.MISMATCH)


@pytest.mark.parametrize(
    "content",
    [
        b"<html><script>alert(1)</script>",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"#!/bin/sh\n",
        b"\x7fELF" + bytes(60),
        b"MZ" + bytes(60),
        b"x",
        files.picture("BMP"),
        files.picture("TIFF"),
        b"RIFF\0\0\0\0AVI LIST",
        files.box(b"ftyp", b"heic", bytes(4), b"mif1heic") + bytes(50),
        files.box(b"ftyp", b"avif", bytes(4), b"mif1avifisom") + bytes(50),
        files.ebml(b"other"),
        files.MP3[:400] + bytes(500),
        b"OggS" + bytes(24) + b"\x80theora" + bytes(40),
        files.archive({"a.txt": "x"}),
        files.archive({"META-INF/MANIFEST.MF": "x", "classes.dex": "x"}),
        files.archive(files.DOCX_MEMBERS | {"word/vbaProject.bin": "x"}),
        files.archive({"mimetype": files.ODT, "Basic/Standard/Module1.xml": "x"}),
        files.archive(files.DOCX_MEMBERS, zipfile.ZIP_BZIP2),
        files.archive(files.DOCX_MEMBERS, zipfile.ZIP_LZMA),
    ],
)
def test_what_is_not_on_the_list(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content) is Reason.NOT_ALLOWED
    assert refused(tmp_path, content, "video/mp4") is Reason.NOT_ALLOWED


def test_nothing_is_nothing(tmp_path: Path) -> None:
    assert refused(tmp_path, b"", "image/png") is Reason.EMPTY


@pytest.mark.parametrize(
    "reference",
    [
        files.box(b"url ", bytes(4), b"http://127.0.0.1/secret\0"),
        files.box(b"urn ", bytes(4), b"x\0"),
        files.box(b"alis", bytes(4), bytes(150)),
    ],
)
def test_samples_in_another_place_are_refused(tmp_path: Path, reference: bytes) -> None:
    assert refused(tmp_path, files.mp4(reference=reference)) is Reason.REFERENCES
    assert (
        refused(tmp_path, files.mp4(brand=b"qt  ", reference=reference), "video/quicktime")
        is Reason.REFERENCES
    )


def test_movies_that_name_others_and_packed_indexes(tmp_path: Path) -> None:
    named = files.box(b"rmra", files.box(b"rmda", files.box(b"rdrf", bytes(4), b"url ", bytes(20))))
    assert refused(tmp_path, files.mp4(more=named)) is Reason.REFERENCES
    assert refused(tmp_path, files.mp4(more=files.box(b"cmov", bytes(20)))) is Reason.NOT_ALLOWED


def test_broken_skeletons(tmp_path: Path) -> None:
    assert refused(tmp_path, files.mp4(handlers=())) is Reason.UNREADABLE
    assert refused(tmp_path, files.mp4(more=b"\0\0\0\4free")) is Reason.UNREADABLE, "shorter than itself"
    assert refused(tmp_path, files.mp4(more=b"\xff\xff\xff\xfffree")) is Reason.UNREADABLE, (
        "longer than the file"
    )
    assert refused(tmp_path, files.mp4() + b"\0\0\0\1mdat" + b"\xff" * 8) is Reason.UNREADABLE
    assert refused(tmp_path, files.mp4() + files.box(b"free") * 200_001) is Reason.UNREADABLE
    many = struct.pack(">I", 2**32 - 1)
    assert (
        refused(tmp_path, files.mp4().replace(b"dref" + bytes(4) + b"\0\0\0\1", b"dref" + bytes(4) + many))
        is Reason.UNREADABLE
    )
    assert asked(tmp_path, files.mp4() + b"\0\0\0\0mdat" + bytes(99), "") is kinds.MP4, "to the end"


GOOD_DOCUMENT = files.archive(files.DOCX_MEMBERS)


@pytest.mark.parametrize(
    "content",
    [
        b"#!/bin/sh\n" + GOOD_DOCUMENT,
        files.picture() + GOOD_DOCUMENT,
    ],
)
def test_an_archive_behind_something_is_what_stands_first(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content, files.DOCX) in (Reason.NOT_ALLOWED, Reason.MISMATCH)


@pytest.mark.parametrize(
    "content",
    [
        GOOD_DOCUMENT + b"<script>",
        GOOD_DOCUMENT + files.PDF,
        files.archive({"x": "x"}) + GOOD_DOCUMENT,
        files.archive(files.DOCX_MEMBERS | {"mimetype": files.ODT}),
        files.PDF + GOOD_DOCUMENT,
    ],
)
def test_documents_that_are_two_things(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content) is Reason.MISMATCH


def test_members_of_one_name(tmp_path: Path) -> None:
    twice = files.archive(
        {"[Content_Types].xml": "", "[Content_Types].xmm": files.DOCX_MEMBERS["[Content_Types].xml"]}
    )
    assert refused(tmp_path, twice.replace(b".xmm", b".xml")) is Reason.MISMATCH


def test_archives_that_expand(tmp_path: Path) -> None:
    zeros = bytes(80 * 2**20)
    assert (
        refused(tmp_path, files.archive(files.DOCX_MEMBERS | {"word/media/a.png": zeros})) is Reason.EXPANDS
    )
    many: dict[str, str | bytes] = {f"{number}": "" for number in range(20_001)}
    assert refused(tmp_path, files.archive(files.DOCX_MEMBERS | many)) is Reason.EXPANDS
    types = files.archive({"[Content_Types].xml": bytes(2 * 2**20)})
    assert refused(tmp_path, types) is Reason.EXPANDS
    lying = bytearray(types)
    at = lying.rfind(b"PK\x01\x02")
    lying[at + 24 : at + 28] = struct.pack("<I", 100)
    assert refused(tmp_path, bytes(lying)) in (Reason.UNREADABLE, Reason.NOT_ALLOWED)


def test_a_password(tmp_path: Path) -> None:
    locked = bytearray(GOOD_DOCUMENT)
    at = locked.find(b"PK\x01\x02")
    locked[at + 8] |= 1
    assert refused(tmp_path, bytes(locked)) is Reason.NOT_ALLOWED


def test_whatever_is_wrong_the_answer_is_a_kind_or_a_reason(tmp_path: Path) -> None:
    """Good files with a few bytes changed, lost or repeated."""
    dice = random.Random(4)
    path = tmp_path / "file"
    for _ in range(4_000):
        content = bytearray(dice.choice(GOOD)[0])
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(len(content) + 1)
            more = bytes(content[dice.randrange(len(content) + 1) :][: dice.randrange(200)])
            long = dice.choice((b"\xff" * 4, bytes(4), b"\0\0\0\1", bytes([dice.randrange(256)])))
            content[at : at + dice.choice((0, 1, 4, 30))] = dice.choice((long, more, b""))
        path.write_bytes(content)
        with contextlib.suppress(Refused):
            assert identify(path, "") in kinds.ALL
