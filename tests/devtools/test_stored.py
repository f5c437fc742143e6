"""The last scene of ``./dev demo``: what is stored where. (Its tables: the demo itself, on either store.)"""

from __future__ import annotations

from typing import Any

import pytest
import redis

from delivery.store.cassandra.copies import key_of
from devtools import stored
from tests.contract.people import new_id


def test_the_copy_of_a_conversation_is_shown(valkey_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url, conversation = valkey_server.url(8), new_id()
    stored.show_copy(url, conversation)
    assert "none: nobody has written for a while" in capsys.readouterr().out
    with redis.Redis.from_url(url) as hot:
        for one, size in ((conversation, 40), (new_id(), 50)):
            hot.hset(key_of(one, 7), mapping={"v": b"\xff", "d": b"\xff" * size})
    stored.show_copy(url, conversation)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "document:{the"
    assert "hash, 40 bytes" in line
