"""Sealed files: they open in their place, under their key, as a whole, or not at all."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from devtools import sealed
from devtools.errors import DevError
from devtools.keyring import Keyring
from devtools.sealed import CHUNK, Key
from whatsapp_client import sealing

KEY = sealed.new_key()
HEAD = 56


class One:
    """A keyring of one key."""

    def key(self, key_id: bytes, path: Path) -> Key:
        if key_id != KEY.id:
            raise DevError(f"{path} cannot be opened")
        return KEY


def _seal(path: Path, content: bytes, name: str = "a") -> Path:
    sealed.seal(io.BytesIO(content), path, KEY, name)
    return path


def _open(path: Path, name: str = "a") -> bytes:
    out = io.BytesIO()
    sealed.unseal(path, out, One(), name)
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5])
def test_what_was_sealed_opens(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = _seal(tmp_path / "file", content)
    assert _open(path) == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"], "no draft is left"
    assert size < 16 or content[:16] not in path.read_bytes()


@pytest.mark.parametrize("size", [0, CHUNK, CHUNK + 1])
def test_the_chunks_are_those_that_clients_seal_files_in(tmp_path: Path, size: int) -> None:
    """Another implementation opens them, under the key that HKDF as others have it makes."""
    content = os.urandom(size)
    data = _seal(tmp_path / "file", content, "place").read_bytes()
    derive = HKDF(hashes.SHA256(), 32, data[24:HEAD], b"wbackup1place")
    rest, out = io.BytesIO(data[HEAD:]), io.BytesIO()
    _, digest = sealing.file_digest(io.BytesIO(data[HEAD:]))
    about = sealing.Sealed("", derive.derive(KEY.secret), bytes.fromhex(digest), size)
    sealing.unseal(rest, out, about)
    assert out.getvalue() == content


def _flip(at: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at:][1:]

    return change


_SEALED = CHUNK + 16
CHANGES = {
    "magic": _flip(0),
    "salt": _flip(30),
    "first chunk": _flip(HEAD),
    "tag": _flip(HEAD + CHUNK),
    "last chunk": _flip(HEAD + 2 * _SEALED),
    "last byte": lambda data: _flip(len(data) - 1)(data),
    "cut in the header": lambda data: data[:40],
    "cut behind the header": lambda data: data[:HEAD],
    "cut in a chunk": lambda data: data[:-5],
    "cut between chunks": lambda data: data[: HEAD + 2 * _SEALED],
    "a byte more": lambda data: data + b"x",
    "a chunk twice": lambda data: data[: HEAD + _SEALED] + data[HEAD:],
    "chunks exchanged": lambda data: (
        data[:HEAD]
        + data[HEAD + _SEALED : HEAD + 2 * _SEALED]
        + data[HEAD : HEAD + _SEALED]
        + data[HEAD + 2 * _SEALED :]
    ),
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_refused_by_its_name(tmp_path: Path, change: str) -> None:
    path = _seal(tmp_path / "file", os.urandom(2 * CHUNK + 100))
    path.write_bytes(CHANGES[change](path.read_bytes()))
    with pytest.raises(DevError, match=str(path)):
        _open(path)


def test_a_file_is_bound_to_its_place_and_to_its_key(tmp_path: Path) -> None:
    one, other = _seal(tmp_path / "one", b"1", "one"), _seal(tmp_path / "other", b"2", "other")
    shutil.copy(one, tmp_path / "kept")
    other.replace(one)
    with pytest.raises(sealed.Damaged, match=str(one)):
        _open(one, "one")
    assert _open(tmp_path / "kept", "one") == b"1", "it is the place that was wrong"
    sealed.seal(io.BytesIO(b"3"), one, sealed.new_key(), "one")
    with pytest.raises(DevError, match=str(one)):
        _open(one, "one")
    sealed.seal(io.BytesIO(b"3"), one, Key(KEY.id, os.urandom(32)), "one")
    with pytest.raises(sealed.Damaged, match=str(one)):
        _open(one, "one")


def test_a_destroyed_key_is_nowhere_and_stays_away(tmp_path: Path) -> None:
    ring = Keyring.make(tmp_path / "keys")
    first, second = ring.begin("g"), ring.begin("g")
    assert ring.current("g").key == second.key
    path = tmp_path / "file"
    sealed.seal(io.BytesIO(b"x"), path, first.key, "a")
    shutil.copytree(ring.root, tmp_path / "copy")
    ring.destroy(first)
    with pytest.raises(DevError, match=f"{path}.*was destroyed at"):
        sealed.unseal(path, io.BytesIO(), ring, "a")
    assert (ring.state(first.key.id), ring.state(second.key.id), ring.state(b"0" * 16)) == (
        "destroyed", "there", "missing",
    )  # fmt: skip
    for file in ring.root.rglob("*"):
        if file.is_file():
            assert first.key.secret.hex() not in file.read_text()
    # A copy of the keys from before is brought back, and what was destroyed meanwhile is destroyed again.
    shutil.copytree(tmp_path / "copy" / "periods", ring.root / "periods", dirs_exist_ok=True)
    assert ring.state(first.key.id) == "there"
    assert Keyring.open(ring.root).state(first.key.id) == "destroyed"
    assert [period.key for period in ring.periods()] == [second.key]


def test_who_died_between_the_note_and_the_key_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Keyring.make(tmp_path / "keys")
    period = ring.begin("g")
    with (ring.root / "destroyed").open("w") as file:
        file.write("half a li")  # a machine stopped
    with monkeypatch.context() as dead, pytest.raises(KeyboardInterrupt):

        def die(path: Path) -> None:
            raise KeyboardInterrupt

        dead.setattr("devtools.keyring.shred", die)
        ring.destroy(period)
    assert ring.state(period.key.id) == "there"
    assert Keyring.open(ring.root).state(period.key.id) == "destroyed"
