"""The bytes of every frame, pinned. A change here is a change of the protocol: clients that are out there
must still understand it."""

import pytest

from tests.wire.samples import CODECS, GOLDEN, Golden
from whatsapp.wire.codec import Codec
from whatsapp.wire.frames import CLIENT_FRAMES, FRAMES, SERVER_FRAMES

each_golden = pytest.mark.parametrize(
    "golden", GOLDEN, ids=lambda golden: f"{golden.direction}: {golden.name}"
)
each_codec = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


@each_codec
@each_golden
def test_bytes_are_those_that_were_published(golden: Golden, codec: Codec) -> None:
    assert codec.encode(golden.decode(codec)) == golden.encoded(codec)


@each_golden
def test_both_encodings_say_the_same(golden: Golden) -> None:
    json, protobuf = (golden.decode(codec) for codec in CODECS)
    assert json == protobuf


@pytest.mark.parametrize(("direction", "frames"), [("client", CLIENT_FRAMES), ("server", SERVER_FRAMES)])
def test_every_frame_of_a_direction_has_a_sample(direction: str, frames: tuple[type, ...]) -> None:
    assert {type(golden.decode(CODECS[0])) for golden in GOLDEN if golden.direction == direction} == set(
        frames
    )


def test_every_field_is_in_a_sample() -> None:
    seen: dict[type, set[str]] = {frame: set() for frame in FRAMES}
    for golden in GOLDEN:
        frame = golden.decode(CODECS[0])
        seen[type(frame)] |= {
            name for name in frame.__struct_fields__ if getattr(frame, name) not in (None, False, "")
        }
    missing = {
        (frame.__name__, name)
        for frame in FRAMES
        for name in frame.__struct_fields__
        if name != "ref" and name not in seen[frame]
    }
    assert missing == set()
