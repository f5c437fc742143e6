"""What a commitment and a tag are worth, as pure functions; and that a store gives a message the commitment of its last form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.franking import KEY, Place, Said, Verdict, commitment, tag, verify
from delivery.store.values import Logged
from delivery.view import item_frame, pack_target
from delivery.witness import judge, row
from tests.contract.people import T0, People, new_id
from whatsapp.infra import clock
from whatsapp.wire import frames

KEYS = {"second": "2" * 48, "first": "1" * 48}
FORGED, VERIFIED, UNVERIFIABLE = Verdict.FORGED, Verdict.VERIFIED, Verdict.UNVERIFIABLE

texts = st.text(max_size=40)
ids = st.uuids().map(str)
keys = st.binary(min_size=KEY, max_size=KEY)
saids = st.builds(Said, st.binary(max_size=200), texts, texts, texts)
places = st.builds(Place, ids, ids, ids, ids, st.integers(0, 2**53 - 1))


def flipped(data: bytes, bit: int) -> bytes:
    bit %= len(data) * 8
    return data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1 :]


# -- pure functions ------------------------------------------------------------------------------------------------------


@given(saids, places, keys)
def test_what_was_written_is_verified_also_after_the_keys_have_changed(
    said: Said, place: Place, key: bytes
) -> None:
    franking = commitment(key, said)
    made = tag(KEYS, franking, place)
    assert len(franking) == 32
    assert made.startswith(b"\x01\x06second"), "the first key makes tags"
    for known in (KEYS, {"third": "3" * 48, **KEYS}, {"third": "3" * 48, "second": KEYS["second"]}):
        assert verify(known, said, place, key, franking, made) is VERIFIED


@given(saids, places, keys, st.integers(0, 2**20))
def test_any_bit_that_is_another_is_detected(said: Said, place: Place, key: bytes, bit: int) -> None:
    franking = commitment(key, said)
    made = tag(KEYS, franking, place)
    given_ = {"key": key, "franking": franking, "franking_tag": made}
    for name, value in given_.items():
        verdict = verify(KEYS, said, place, **{**given_, name: flipped(value, bit)})
        # In the tag it may be a bit of the name of its key: nobody knows a key of that name.
        assert verdict is FORGED or (name == "franking_tag" and verdict is UNVERIFIABLE)
    if said.content:
        assert verify(KEYS, said._replace(content=flipped(said.content, bit)), place, **given_) is FORGED
    for name, value in place._asdict().items():
        if name == "at":
            other: Any = place.at ^ 1 << bit % 53
        else:
            raw = flipped(bytes.fromhex(value.replace("-", "")), bit).hex()
            other = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
        assert verify(KEYS, said, place._replace(**{name: other}), **given_) is FORGED


@given(saids, saids, keys)
def test_one_commitment_is_to_one_message(one: Said, other: Said, key: bytes) -> None:
    """Also where what is written moves from a field into the next: each stands behind its length."""
    assert (commitment(key, one) == commitment(key, other)) == (one == other)


@given(saids, texts.filter(bool))
def test_what_moves_between_fields_is_something_else(said: Said, more: str) -> None:
    key = b"k" * KEY
    moved = [
        said._replace(kind=said.kind + more),
        said._replace(reply_to=more + said.reply_to),
        said._replace(media_url=said.media_url + more),
        said._replace(content=more.encode() + said.content),
        said._replace(content=said.content + more.encode()),
    ]
    assert len({commitment(key, one) for one in (said, *moved)}) == len({said, *moved})


@given(saids, places, keys, st.integers(0, 64))
def test_keys_of_another_length_are_none(said: Said, place: Place, key: bytes, size: int) -> None:
    """HMAC pads a short key with zeros: two keys would open one commitment."""
    if size == KEY:
        return
    cut = (key + bytes(KEY))[:size]
    with pytest.raises(ValueError, match="32 bytes"):
        commitment(cut, said)
    franking = commitment(key, said)
    assert verify(KEYS, said, place, cut, franking, tag(KEYS, franking, place)) is FORGED


@given(saids, places, keys)
def test_without_all_three_nothing_can_be_said(said: Said, place: Place, key: bytes) -> None:
    franking = commitment(key, said)
    whole = {"key": key, "franking": franking, "franking_tag": tag(KEYS, franking, place)}
    for name in whole:
        assert verify(KEYS, said, place, **{**whole, name: None}) is UNVERIFIABLE
    # Of a key that is retired: an honest reporter must not be called a forger, and a forger is one all the same.
    later = {"third": "3" * 48}
    assert verify(later, said, place, **whole) is UNVERIFIABLE
    assert verify(later, said._replace(content=said.content + b"x"), place, **whole) is FORGED
    # Whoever has no key makes no tag, under whatever name.
    own = tag({"second": "mine" * 12}, franking, place)
    assert verify(KEYS, said, place, key, franking, own) is FORGED


@given(st.binary(max_size=120), st.binary(max_size=40), st.binary(max_size=40), texts, st.integers())
def test_nothing_that_is_reported_breaks_it(
    made: bytes, franking: bytes, key: bytes, name: str, at: int
) -> None:
    for place in (Place(name, name, name, name, at), Place(*[new_id()] * 4, at)):
        assert verify(KEYS, Said(b""), place, key, franking, made) is not VERIFIED


def test_ids_of_another_length_are_none() -> None:
    """Sixty-four bytes in other pieces are not the same four ids."""
    place, franking = Place(*[new_id() for _ in range(4)], 1), b"f" * 32
    shifted = place._replace(conversation=place.conversation + "00", message_id=place.message_id[:-2])
    with pytest.raises(ValueError, match="16"):
        tag(KEYS, franking, shifted)
    with pytest.raises(ValueError, match="32"):
        tag(KEYS, franking[:-1], place)


def test_what_is_reported_of_a_file_is_what_was_sent() -> None:
    """Two keys that open one file to two pictures, or two files under one key: the sender committed to one of them."""
    key, place = b"k" * KEY, Place(*[new_id() for _ in range(4)], 1)
    file = {"key": b"1" * 32, "digest": b"a" * 32}
    url = f"/media/{new_id()}/content"

    def said(**other: bytes) -> Said:
        described = {**file, **other}
        return Said(described["key"] + described["digest"] + b"a.jpg", "image", url)

    franking = commitment(key, said())
    made = tag(KEYS, franking, place)
    assert verify(KEYS, said(), place, key, franking, made) is VERIFIED
    for other in (said(key=b"2" * 32), said(digest=b"b" * 32), said()._replace(media_url=url[:-1])):
        assert verify(KEYS, other, place, key, franking, made) is FORGED


# -- stores --------------------------------------------------------------------------------------------------------------


def franked(byte: bytes) -> bytes:
    return msgspec.msgpack.encode({"franking": byte * 32})


def shown(events: list[Logged]) -> list[tuple[str, bytes | None, bytes | None]]:
    """Kind, content and commitment, after the tag was checked."""
    found = []
    for event in events:
        frame = item_frame(event)
        assert (frame.franking is None) == (frame.franking_tag is None)
        content = frame.encrypted_content
        found.append((event.kind, content, frame.franking[:1] if frame.franking else None))
    return found


async def edited(people: People, target: str, body: bytes, byte: bytes = b"") -> None:
    edit = people.amend(target, "edit", body)
    edit.extra = pack_target(target, byte * 32 if byte else None)
    await people.append(edit)


async def test_a_message_has_the_commitment_of_what_it_says(people: People) -> None:
    one, plain = people.send(extra=franked(b"1")), people.send()
    await people.append(one, plain)
    await edited(people, one.message_id, b"v2", b"2")
    await edited(people, plain.message_id, b"v2", b"p")
    wanted: list[Any] = [
        ("text", b"v2", b"2"),
        ("text", b"v2", b"p"),
        ("edit", b"v2", b"2"),
        ("edit", b"v2", b"p"),
    ]
    assert shown(await people.read(people.bob)) == wanted
    # One message a page, so that its edit is on another.
    first = await people.store.history(people.conversation, people.bob, 0, 2, 1)
    assert shown(list(first.events)) == wanted[:1]
    # The last form counts, and what is not franked has no commitment: it would be one to something else.
    await edited(people, one.message_id, b"v3", b"3")
    await edited(people, plain.message_id, b"v3")
    assert shown(await people.read(people.bob)) == [
        ("text", b"v3", b"3"), ("text", b"v3", None), ("edit", b"v3", b"3"), ("edit", b"v3", None),
    ]  # fmt: skip
    # A delete takes the commitment with the content.
    await people.append(people.amend(one.message_id, "delete"))
    events = await people.read(people.bob)
    assert shown(events)[0] == ("text", None, None)
    assert all(b"franking" not in (event.extra or b"") + (event.form or b"") for event in events)


async def test_what_vanishes_takes_its_commitment(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    one = people.send(extra=franked(b"1"), lasts=60_000)
    await people.append(one)
    await edited(people, one.message_id, b"v2", b"2")
    monkeypatch.setattr(clock, "now_ms", lambda: T0 + 1)
    assert shown(await people.read(people.bob))[0] == ("text", b"v2", b"2")
    monkeypatch.setattr(clock, "now_ms", lambda: T0 + 60_000)
    assert shown(await people.read(people.bob)) == [("text", None, None), ("edit", None, None)], (
        "not emptied yet"
    )
    while await people.store.vanish(T0 + 60_000):
        pass
    events = await people.read(people.bob)
    assert all(b"franking" not in (event.extra or b"") + (event.form or b"") for event in events)


async def test_who_has_left_is_shown_no_commitment_of_a_later_edit(people: People) -> None:
    """And who blocks somebody is shown that of what it reads."""
    one = people.send(extra=franked(b"1"))
    await people.append(one)
    await people.store.withhold(people.bob, people.alice, True, T0)
    await edited(people, one.message_id, b"v2", b"2")
    assert shown(await people.read(people.bob)) == [("text", b"hello", b"1")]
    assert shown(await people.read(people.alice))[0] == ("text", b"v2", b"2")


def test_a_tag_is_of_the_row_and_no_process_keeps_one() -> None:
    row = Logged(*[new_id()], 1, 1, *[new_id() for _ in range(3)], "text", b"x", 1, 7, 0, franked(b"c"))
    first, again = item_frame(row), item_frame(row)
    assert isinstance(first, frames.Message)
    assert (
        first.franking_tag
        == again.franking_tag
        != item_frame(msgspec.structs.replace(row, at=8)).franking_tag
    )


# -- what was not encrypted ----------------------------------------------------------------------------------------------


async def test_the_log_is_the_witness_for_what_it_can_read(people: People) -> None:
    words = b"sell me your account"
    one = people.send(body=words, extra=msgspec.msgpack.encode({"reply_to": people.writer}))
    await people.append(one)
    place = Place(people.conversation, one.message_id, people.alice, people.phone, T0)
    said = Said(words, reply_to=people.writer)

    async def verdict(said: Said, place: Place = place, user: str = people.bob) -> Verdict:
        return judge(await row(people.store, user, place.conversation, place.message_id), said, place)

    assert await verdict(said) is VERIFIED
    assert await verdict(said._replace(reply_to="")) is VERIFIED, "an older client was not told"
    for other in (said._replace(content=words + b"!"), said._replace(reply_to=new_id())):
        assert await verdict(other) is FORGED
    for changed in ({"sender": people.bob}, {"device": people.desk}, {"at": T0 + 1}):
        assert await verdict(said, place._replace(**changed)) is FORGED
    # Who was not sent it learns nothing, nor does anybody of what is not there.
    assert await verdict(said, user=new_id()) is UNVERIFIABLE
    assert await verdict(said, place._replace(message_id=new_id())) is UNVERIFIABLE
    assert await verdict(said._replace(kind="image")) is UNVERIFIABLE
    await edited(people, one.message_id, b"I was hacked")
    assert await verdict(said) is UNVERIFIABLE, "it said something else before"
    assert await verdict(said._replace(content=b"I was hacked")) is VERIFIED
    of_the_edit = place._replace(at=T0 + 1, device=people.desk)
    assert await verdict(said, of_the_edit) is UNVERIFIABLE, "the row does not say when that was"
    assert await verdict(said, place._replace(at=T0 - 1)) is FORGED
    await people.append(people.amend(one.message_id, "delete"))
    assert await verdict(said) is UNVERIFIABLE


async def test_what_only_clients_can_open_makes_nobody_a_forger(people: People) -> None:
    sealed = [
        people.send(body=b"\x80\xff\x00\x01"),
        people.send(body=b"3q2+7wAAAAAAAAAAAAAAAA=="),
        people.send(body=b'{"iv": "AAAA", "data": "BBBB"}'),
        people.send(body=b"the text of a client", extra=franked(b"1")),
        people.send(body=b"with envelopes", envelopes=b"\x80"),
    ]
    await people.append(*sealed)
    for one in sealed:
        place = Place(people.conversation, one.message_id, people.alice, people.phone, T0)
        found = await row(people.store, people.bob, people.conversation, one.message_id)
        assert found is not None
        assert judge(found, Said(b"what it opens to"), place) is UNVERIFIABLE
