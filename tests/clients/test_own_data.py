"""What the server holds of oneself, by the client library against the real system: an archive, made, fetched and whole."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from whatsapp_client import Backoff, Client, RestError

from .test_with_server import register


async def test_an_archive_is_asked_for_waited_for_and_fetched(stack: Any, tmp_path: Path):
    session = await register(stack)
    async with Client(stack.http, session, backoff=Backoff(first=0.05, ceiling=0.5)) as ann:
        await ann.wait_online()
        waited: list[int] = []
        told: list[tuple[int, int]] = []
        target = tmp_path / "mine.zip"
        size = await ann.export(
            target, waiting=lambda: waited.append(1), progress=lambda done, every: told.append((done, every))
        )
        data = target.read_bytes()
        assert size == len(data)
        assert told[-1] == (size, size)
        archive = zipfile.ZipFile(io.BytesIO(data))
        (profile,) = map(json.loads, archive.read("accounts/profile.jsonl").splitlines())
        assert profile["phoneNumber"] == session.phone_number
        again = tmp_path / "again.zip"
        await ann.export(again, waiting=lambda: waited.append(2))
        assert again.read_bytes() == data, "one a day"
        assert 2 not in waited
        assert sorted(os.listdir(tmp_path)) == ["again.zip", "mine.zip"]
        consents = await ann.consents()
        assert (consents.documents, consents.terms_version, consents.given) == (("diagnostics",), "", ())
        agreed = await ann.agree("diagnostics", "1")
        assert agreed.holds("diagnostics")
        taken = await ann.withdraw_consent("diagnostics")
        assert not taken.holds("diagnostics")
        assert [one.version for one in taken.given] == ["1"]
        with pytest.raises(RestError) as refused:
            await ann.agree("something else", "1")
        assert refused.value.code == "bad_request"
