"""Keys of access tokens from a file."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accounts import keys
from accounts.tokens import TokenError, issue_access, read_access
from whatsapp.infra.clock import now_ms
from whatsapp.infra.token_keys import parse

OLD, NEW = "o" * 48, "n" * 48


@pytest.fixture
def put(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the file; the process looks again only as it would by itself."""
    monkeypatch.setattr(keys, "_file", None)
    monkeypatch.setattr(keys, "_LOOK_S", 3_600.0)
    settings.TOKEN_KEYS_FILE = str(tmp_path / "keys")

    def replace(text: str) -> None:
        draft = tmp_path / "draft"
        draft.write_text(text)
        os.replace(draft, settings.TOKEN_KEYS_FILE)

    return replace


def look_again() -> None:
    """As if a second had passed."""
    assert keys._file is not None
    keys._file._looked = -math.inf


def test_a_key_that_another_process_uses_already_is_found_at_once(put: Callable[[str], None]) -> None:
    put(f"old:{OLD}")
    assert keys.signing() == ("old", OLD)
    put(f"new:{NEW}\nold:{OLD}")
    assert keys.signing() == ("old", OLD)  # it has not looked yet
    assert keys.secret_of("new") == NEW
    assert keys.signing() == ("new", NEW)
    assert keys.secret_of("none") is None


@pytest.mark.parametrize("text", ["", "old", "old:short", f"new:{NEW},", "ü" * 40, "\x00" * 100])
def test_a_wrong_file_changes_nothing(text: str, put: Callable[[str], None], caplog: Any) -> None:
    put(f"old:{OLD}")
    assert keys.secret_of("old") == OLD
    put(text if not text.endswith(",") else text + "x")
    look_again()
    assert keys.signing() == ("old", OLD)
    assert "cannot be read" in caplog.text
    assert NEW not in caplog.text
    put(f"new:{NEW}")
    look_again()
    assert keys.signing() == ("new", NEW)


def test_a_file_that_is_gone_changes_nothing(put: Callable[[str], None], settings: Any) -> None:
    put(f"old:{OLD}")
    token, _ = issue_access(user_id=str(uuid.uuid4()), device_id=str(uuid.uuid4()), now=now_ms())
    Path(settings.TOKEN_KEYS_FILE).unlink()
    look_again()
    read_access(token)


def test_a_key_that_left_verifies_nothing(put: Callable[[str], None]) -> None:
    put(f"old:{OLD}")
    token, _ = issue_access(user_id=str(uuid.uuid4()), device_id=str(uuid.uuid4()), now=now_ms())
    put(f"new:{NEW}")
    look_again()
    with pytest.raises(TokenError):
        read_access(token)


def test_entries_are_separated_by_commas_or_lines() -> None:
    expected = {"a": OLD, "b": NEW}
    for text in (f"a:{OLD},b:{NEW}", f"a:{OLD}\nb:{NEW}\n", f" a:{OLD} , b:{NEW} ,\n"):
        assert list(parse(text).items()) == list(expected.items())
