"""The AsyncAPI document of the socket: the standard's own schema takes it, it names every frame, and what it says of frames
is what the codec does. ``asyncapi-3.1.0.json.gz`` is 3.1.0-without-$id.json of npm @asyncapi/specs 6.11.1 (Apache-2.0)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tests.wire.samples import GOLDEN, client_frames, server_frames
from whatsapp.wire import asyncapi, examples
from whatsapp.wire.codec import JSON
from whatsapp.wire.errors import CODES, Close, FrameError
from whatsapp.wire.frames import CLIENT_FRAMES, SERVER_FRAMES

DOCUMENT = asyncapi.document()
STANDARD = json.loads(gzip.decompress(Path(__file__).with_name("asyncapi-3.1.0.json.gz").read_bytes()))
MESSAGES = DOCUMENT["components"]["messages"]


def validator(name: str) -> Draft7Validator:
    return Draft7Validator({**MESSAGES[name]["payload"], "components": DOCUMENT["components"]})


VALIDATORS = {name: validator(name) for name in MESSAGES}


def kinds(frames: Any) -> set[str]:
    return {frame.__struct_config__.tag for frame in frames}


def test_it_is_served_beside_the_others() -> None:
    answer = Client().get("/schema/asyncapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(DOCUMENT))


def test_the_standard_takes_it() -> None:
    found = [
        (list(error.path), error.message[:200]) for error in Draft7Validator(STANDARD).iter_errors(DOCUMENT)
    ]
    assert not found
    broken = {**DOCUMENT, "channels": {"socket": {"address": 7}}}
    assert not Draft7Validator(STANDARD).is_valid(broken)  # the schema does look


def test_every_frame_is_in_it_in_its_directions() -> None:
    client, server = kinds(CLIENT_FRAMES) | {"sync_offline"}, kinds(SERVER_FRAMES)
    assert set(MESSAGES) == {f"client_{kind}" for kind in client} | {f"server_{kind}" for kind in server}
    operations = DOCUMENT["operations"]
    assert set(operations) == {f"receive_{kind}" for kind in client} | {f"send_{kind}" for kind in server}
    for name, operation in operations.items():
        assert operation["action"] == name.split("_")[0]
        for message in (*operation["messages"], *operation.get("reply", {}).get("messages", ())):
            assert message["$ref"].removeprefix("#/channels/socket/messages/") in MESSAGES


def test_every_code_is_in_it() -> None:
    channel = DOCUMENT["channels"]["socket"]
    assert {row["code"] for row in channel["x-error-codes"]} == CODES
    closes = {value for name, value in vars(Close).items() if name.isupper()}
    assert {row["code"] for row in channel["x-close-codes"]} == closes


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_examples_fit_their_schemas_and_the_codec(name: str) -> None:
    side, _, kind = name.partition("_")
    assert MESSAGES[name]["examples"]
    for example in MESSAGES[name]["examples"]:
        payload = example["payload"]
        assert payload["type"] == kind
        assert not list(VALIDATORS[name].iter_errors(payload))
        data = json.dumps(payload).encode()
        frame = JSON.decode(data) if side == "client" else JSON.decode_server(data)
        again = json.loads(JSON.encode(frame))
        # Nothing of it was dropped: every field of the example is one of the frame.
        left_out = {"type": kind, "limit": 100, "ttl": 300, "emoji": "", "scope": "everyone"}
        assert {**left_out, **again, "type": kind}.items() >= payload.items()


@given(client_frames)
@settings(max_examples=200, deadline=None)
def test_what_a_client_may_send_fits(frame: Any) -> None:
    payload = json.loads(JSON.encode(frame))
    assert not list(VALIDATORS[f"client_{payload['type']}"].iter_errors(payload))


@given(server_frames)
@settings(max_examples=200, deadline=None)
def test_what_the_server_sends_fits(frame: Any) -> None:
    payload = json.loads(JSON.encode(frame))
    if payload["type"] == "error":  # any text there, the codes in the document
        payload["code"] = "internal"
    assert not list(VALIDATORS[f"server_{payload['type']}"].iter_errors(payload))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_the_golden_frames_fit(golden: Any) -> None:
    payload = json.loads(golden.json)
    assert not list(VALIDATORS[f"{golden.direction}_{payload['type']}"].iter_errors(payload))


@given(st.sampled_from(sorted(examples.CLIENT)), st.data())
@settings(max_examples=300, deadline=None)
def test_what_does_not_fit_is_refused(kind: str, data: st.DataObject) -> None:
    """A field taken away, or of another type: schema and codec judge alike."""
    payload = dict(data.draw(st.sampled_from(list(examples.CLIENT[kind].values()))))
    name = data.draw(st.sampled_from(sorted(payload)))
    value = data.draw(st.sampled_from([..., 7, -1, 2**53, "x", True, [], {}, "sent", [7]]))
    if name == "type":
        return
    if value is ...:
        del payload[name]
    else:
        payload[name] = value
    fits = VALIDATORS[f"client_{kind}"].is_valid(payload)
    try:
        JSON.decode(json.dumps(payload).encode())
    except FrameError:
        taken = False
    else:
        taken = True
    # Base64 and the depth of a payload are no matter of the schema.
    assert fits == taken or (fits and name in ("encryptedContent", "content", "franking"))
