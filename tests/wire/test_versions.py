"""What a client offers and what it gets."""

import pytest

from whatsapp.wire import versions
from whatsapp.wire.codec import JSON, PROTOBUF
from whatsapp.wire.frames import Message
from whatsapp.wire.versions import DowngradedCodec, Negotiated, UpgradeRequired, negotiate


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
    assert negotiate(subprotocols, header) == Negotiated(*expected)


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


@pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])
def test_a_downgrade_leaves_out_what_an_older_client_does_not_know(codec) -> None:
    u = "0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
    fields = {"message_id": u, "conversation_id": u, "sender_id": u, "sender_device_id": u}
    fields |= {"seq": 1, "timestamp": 1, "server_timestamp": 1, "kind": "text"}
    message = Message(**fields, edited=True, reply_to=u)
    older = DowngradedCodec(codec, {Message: frozenset({"edited"})})
    assert codec.decode_server(older.encode(message)) == Message(**fields, reply_to=u)
    batch = older.encode_batch(u, [older.encode_item(message)], 1, 1, 0)
    assert codec.decode_server(batch).events == [Message(**fields, reply_to=u)]
    assert message.edited  # the frame itself is shared with newer clients
