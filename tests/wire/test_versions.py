"""What a client offers and what it gets."""

from typing import Any, get_args

import msgspec
import pytest

from whatsapp.wire import versions
from whatsapp.wire.codec import CODECS, JSON, PROTOBUF
from whatsapp.wire.frames import Event, EventKind, Message, MessageKind, Notice
from whatsapp.wire.versions import UpgradeRequired, negotiate


@pytest.mark.parametrize(
    ("subprotocols", "header", "expected"),
    [
        ([], None, (JSON, "3.2", None)),
        (["whatsapp.v3.2.json"], None, (JSON, "3.2", "whatsapp.v3.2.json")),
        (["whatsapp.v3.2.protobuf"], None, (PROTOBUF, "3.2", "whatsapp.v3.2.protobuf")),
        (["whatsapp.v3.1.protobuf", "whatsapp.v3.2.json"], None, (PROTOBUF, "3.1", "whatsapp.v3.1.protobuf")),
        (["whatsapp.v3.0.json"], None, (JSON, "3.0", "whatsapp.v3.0.json")),
        (["whatsapp.v2.9.json", "whatsapp.v3.0.json"], None, (JSON, "3.0", "whatsapp.v3.0.json")),
        (["whatsapp.v3.9.json", "whatsapp.v3.2.json"], None, (JSON, "3.2", "whatsapp.v3.2.json")),
        (["whatsapp.v3.9.json"], None, (JSON, "3.2", None)),
        (["whatsapp.v3.2.xml", "chat"], None, (JSON, "3.2", None)),
        ([], "3.1", (JSON, "3.1", None)),
        ([], " 3.2 ", (JSON, "3.2", None)),
        ([], "3.7", (JSON, "3.2", None)),
        ([], "4", (JSON, "3.2", None)),
        ([], "3", (JSON, "3.0", None)),
        ([], "newest", (JSON, "3.2", None)),
        (["whatsapp.v3.2.protobuf"], "3.0", (PROTOBUF, "3.2", "whatsapp.v3.2.protobuf")),
    ],
)  # fmt: skip
def test_negotiate(subprotocols: list[str], header: str | None, expected: tuple) -> None:
    codec, version, subprotocol = expected
    found = negotiate(subprotocols, header)
    assert (found.version, found.subprotocol) == (version, subprotocol)
    assert found.codec.name == codec.name
    assert (found.codec is CODECS[codec.name]) == (version == "3.2")


@pytest.mark.parametrize(
    ("subprotocols", "header", "accept_with"),
    [
        (["whatsapp.v2.9.json"], None, "whatsapp.v2.9.json"),
        (["whatsapp.v2.1.protobuf", "whatsapp.v2.0.json"], "3.2", "whatsapp.v2.1.protobuf"),
        ([], "2.9", None),
        ([], "2", None),
    ],
)
def test_too_old(subprotocols: list[str], header: str | None, accept_with: str | None) -> None:
    with pytest.raises(UpgradeRequired) as raised:
        negotiate(subprotocols, header)
    assert raised.value.subprotocol == accept_with


def test_the_versions_are_the_last_three() -> None:
    assert sorted(versions.DOWNGRADES) == ["3.0", "3.1", "3.2"]
    assert versions.NEWEST in versions.DOWNGRADES


U = "0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
SAID = {
    "message_id": U, "conversation_id": U, "sender_id": U, "sender_device_id": U, "seq": 1, "timestamp": 1,
    "server_timestamp": 1, "kind": "text", "encrypted_content": b"x",
}  # fmt: skip
FRANKED = {"franking": b"c" * 32, "franking_tag": b"t" * 40}
ALL = {
    "reply_to": U, "forward_count": 6, "mentions": [U], "expires_in": 60, "request": True, "edited": True, **FRANKED,
}  # fmt: skip
HAPPENED = {"conversation_id": U, "seq": 2, "actor_id": U, "server_timestamp": 1}
NOTHING = Event(**HAPPENED, kind="info", data={})
ABOUT = {"target_id": U, "encrypted_content": b"x", "data": {}}


def told(version: str, codec: Any, frame: Any) -> Any:
    """What a client of that version reads."""
    before = msgspec.structs.asdict(frame)
    data = negotiate([f"whatsapp.v{version}.{codec.name}"]).codec.encode(frame)
    assert msgspec.structs.asdict(frame) == before, "the frame itself is shared with newer clients"
    return codec.decode_server(data) if data else None


@pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])
@pytest.mark.parametrize(
    ("frame", "in_3_1", "in_3_0"),
    [
        # replies, forwards, mentions, messages that vanish, requests, franking; who edited is known to all
        (
            Message(**SAID, **ALL),
            Message(**SAID, **{**ALL, "request": False, "franking": None, "franking_tag": None}),
            Message(**SAID, edited=True),
        ),
        (
            Event(**HAPPENED, kind="edit", **ABOUT, **FRANKED, actor_device_id=U),
            *[Event(**HAPPENED, kind="edit", **ABOUT)] * 2,
        ),
        *[
            (
                Message(**{**SAID, "kind": kind}),
                Message(**{**SAID, "kind": new}),
                Message(**{**SAID, "kind": old}),
            )
            for kind, new, old in [
                ("image", "image", "image"),
                ("poll", "text", "text"),
                ("voice", "voice", "audio"),
                ("sticker", "sticker", "image"),
                ("location", "location", "text"),
                ("contact", "contact", "text"),
            ]
        ],
        (
            Message(**SAID, view_once=True, media_url="https://x"),
            *[Message(**{**SAID, "encrypted_content": None}, deleted=True)] * 2,
        ),
        *[
            (Event(**HAPPENED, kind=kind, **fields), *told)
            for kind, fields, told in [
                ("edit", ABOUT, [Event(**HAPPENED, kind="edit", **ABOUT)] * 2),
                (
                    "delete",
                    {"target_id": U, "data": {}},
                    [Event(**HAPPENED, kind="delete", target_id=U, data={})] * 2,
                ),
                (
                    "reaction",
                    {"target_id": U, "data": {"emoji": "👍"}},
                    [Event(**HAPPENED, kind="reaction", target_id=U, data={"emoji": "👍"}), NOTHING],
                ),
                (
                    "timer",
                    {"data": {"seconds": 60}},
                    [Event(**HAPPENED, kind="timer", data={"seconds": 60}), NOTHING],
                ),
                ("vote", ABOUT, [NOTHING] * 2),
                (
                    "role",
                    {"user_id": U, "data": {}},
                    [Event(**HAPPENED, kind="role", user_id=U, data={})] * 2,
                ),
            ]
        ],
        (Notice("device_linked", {}), *[Notice("device_linked", {})] * 2),
        (Notice("flags", {}), Notice("flags", {}), None),
        (Notice("prekeys_low", {}), None, None),
    ],
    ids=repr,
)
def test_what_older_clients_are_told(codec: Any, frame: Any, in_3_1: Any, in_3_0: Any) -> None:
    assert told("3.2", codec, frame) == frame
    assert told("3.1", codec, frame) == in_3_1
    assert told("3.0", codec, frame) == in_3_0


@pytest.mark.parametrize("version", ["3.0", "3.1"])
def test_no_change_of_a_log_is_left_out(version: str) -> None:
    """Or its client would see a hole for ever."""
    for kind in get_args(EventKind):
        event = told(version, JSON, Event(**HAPPENED, kind=kind, data={}))
        assert (event.seq, event.conversation_id) == (2, U)
    for kind in get_args(MessageKind):
        assert told(version, JSON, Message(**{**SAID, "kind": kind})).seq == 1


def test_another_process_finds_the_codec_of_a_socket() -> None:
    for version in versions.DOWNGRADES:
        for name in ("json", "protobuf"):
            codec = negotiate([f"whatsapp.v{version}.{name}"]).codec
            assert versions.codec_by_id(codec.id) is codec
