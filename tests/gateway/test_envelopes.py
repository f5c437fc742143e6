"""Messages encrypted for each device: every device gets its own envelope, on every way, and no other's; a sender with an old
list of devices or members is told so and nothing is stored."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx

from delivery.envelopes import member_hash
from tests.gateway.peer import Peer, events_of, fill
from tests.gateway.phone import Phone, couple, link, new_id, sign_up
from tests.gateway.test_amendments import delete, done, edit
from tests.gateway.test_blocks import block
from tests.groups.test_sockets import make
from tests.support import signal_keys
from tests.support.patience import until
from tests.support.signal_keys import IdentityPair
from whatsapp.wire import frames
from whatsapp.wire.frames import Envelope

_identities: dict[str, IdentityPair] = {}  # by user: all devices of an account have the same


async def keys(*phones: Phone) -> None:
    """The devices put their keys."""
    for phone in phones:
        identity = _identities.setdefault(phone.user, IdentityPair())
        body = signal_keys.keys(identity, registrationId=registration(phone))
        answer = await phone.rest("POST", "/keys", body)
        assert answer.status_code == 204, answer.text


def registration(phone: Phone) -> int:
    """Another one for each device."""
    return int(phone.device[-4:], 16) % 16_380 + 1


def envelope(phone: Phone, content: str = "", **fields: Any) -> Envelope:
    """For this device, and to be recognised."""
    usual = {"type": "message", "registration_id": registration(phone)}
    return Envelope(
        user_id=phone.user,
        device_id=phone.device,
        content=(content or f"for {phone.device}").encode(),
        **{**usual, **fields},
    )


def named(phones: Iterable[Phone]) -> list[dict[str, str]]:
    found = [{"userId": phone.user, "deviceId": phone.device} for phone in phones]
    return sorted(found, key=lambda one: (one["userId"], one["deviceId"]))


def opened(message: Any) -> str | None:
    """What stands in the envelope of a message, of either form."""
    if isinstance(message, dict):
        return message["envelope"]["content"] if "envelope" in message else None
    return message.envelope.content.decode() if message.envelope is not None else None


class Ring:
    """Ann with a phone that writes and a laptop, Bob with three devices, at two gateways; all have keys."""

    def __init__(self, system: Any, conversation: str, ann: Sequence[Phone], bob: Sequence[Phone]) -> None:
        self.system = system
        self.conversation = conversation
        self.phone, self.laptop = ann
        self.bobs = list(bob)
        self.urls = [gateway["ws"] for gateway in system.gateways.values()]

    @classmethod
    async def meet(cls, system: Any) -> Ring:
        ann, bob, conversation = await couple(system)
        laptop, tablet = await asyncio.gather(link(ann), link(bob))
        web = await link(bob)
        await keys(ann, laptop, bob, tablet, web)
        return cls(system, conversation, (ann, laptop), (bob, tablet, web))

    @property
    def others(self) -> list[Phone]:
        return [self.laptop, *self.bobs]

    def envelopes(self, content: str = "", but: Phone | None = None) -> list[Envelope]:
        return [envelope(phone, content) for phone in self.others if phone is not but]

    async def stored(self) -> int:
        async with self.system.stored() as log:
            found = await log.store.conversations([self.conversation])
        return int(found[self.conversation].head)

    async def items(self, phone: Phone) -> list[dict[str, Any]]:
        answer = await phone.rest("GET", f"/conversations/{self.conversation}/events")
        return list(answer.json()["items"])


async def mismatch(peer: Peer, conversation: str, envelopes: list[Envelope], **fields: Any) -> dict[str, Any]:
    """What is wrong with these envelopes."""
    answer = await peer.attempt(conversation, envelopes=envelopes, **fields)
    assert isinstance(answer, frames.Error), answer
    assert (answer.code, answer.retryable) == ("device_mismatch", True)
    return answer.details or {}


async def test_each_device_gets_its_own_envelope_on_every_way(stack: Any, codec: str) -> None:
    ring = await Ring.meet(stack)
    phone, tablet, web = ring.bobs
    async with (
        await Peer.open(ring.urls[0], ring.phone, codec) as ann,
        await Peer.open(ring.urls[1], ring.laptop, codec) as laptop,
        await Peer.open(ring.urls[0], phone, codec) as bob,
        await Peer.open(ring.urls[1], tablet, codec) as second,
    ):
        first = envelope(phone, "the key", type="prekey")
        await ann.say(ring.conversation, "sealed", envelopes=[first, *ring.envelopes(but=phone)])
        await ann.say(ring.conversation, "plain")
        # Live, at both gateways: the same content, each its own envelope as it was given.
        for peer, wanted in ((bob, first), (second, envelope(tablet)), (laptop, envelope(ring.laptop))):
            sealed, plain = await peer.messages(2)
            assert (sealed.encrypted_content, sealed.envelope) == (b"sealed", wanted)
            assert (plain.encrypted_content, plain.envelope) == (b"plain", None)
        # From the backlog, and over REST, by the device that asks.
        async with await Peer.open(ring.urls[0], web, codec, sync=False) as late:
            sealed, plain = events_of(await late.sync())
            assert (sealed.envelope, plain.envelope) == (envelope(web), None)
        for peer, wanted in ((bob, first), (laptop, envelope(ring.laptop))):
            again = events_of(await peer.sync({ring.conversation: 0}))
            assert [event.envelope for event in again if event.envelope] == [wanted]
        for device in ring.others:
            sealed, plain = await ring.items(device)
            assert sealed["envelope"]["deviceId"] == device.device
            assert "envelope" not in plain
        assert "envelope" not in (await ring.items(ring.phone))[0], "it has what it sent"
        (listed,) = (await web.rest("GET", "/conversations")).json()["items"]
        assert listed["lastEvent"]["seq"] == 2
        # A device that comes later has no envelope, and gets what it asks for all the same.
        await unlinks(ring.laptop)
        newer = await link(ring.phone)
        async with await Peer.open(ring.urls[1], newer, codec, resume={ring.conversation: 0}) as fresh:
            batch = await fresh.expect(frames.SyncBatch)
            assert [event.envelope for event in batch.events] == [None, None]


async def unlinks(phone: Phone) -> None:
    answer = await phone.rest("DELETE", f"/devices/{phone.device}")
    assert answer.status_code == 204, answer.text


async def test_a_sender_with_another_list_is_told_and_nothing_is_stored(stack: Any, codec: str) -> None:
    ring = await Ring.meet(stack)
    phone, tablet, web = ring.bobs
    stranger = await sign_up(stack)
    async with (
        await Peer.open(ring.urls[0], ring.phone, codec) as ann,
        await Peer.open(ring.urls[1], phone, codec) as bob,
    ):
        talk, same = ring.conversation, new_id()
        found = await mismatch(ann, talk, [envelope(phone)], message_id=same, seq_num=1)
        assert found == {"missing": named([ring.laptop, tablet, web]), "extra": [], "stale": []}
        # The sending device, a stranger's, and somebody's under another's name have no place there; another registration is old.
        wrong = [
            *ring.envelopes(but=web),
            envelope(ring.phone),
            envelope(stranger),
            envelope(web, registration_id=99_999),
        ]
        found = await mismatch(ann, talk, wrong, message_id=same, seq_num=1)
        assert found == {"missing": [], "extra": named([ring.phone, stranger]), "stale": named([web])}
        foreign = envelope(web)
        foreign.user_id = ring.phone.user
        found = await mismatch(ann, talk, [*ring.envelopes(but=web), foreign], seq_num=1)
        assert found["missing"] == named([web])
        assert [one["deviceId"] for one in found["extra"]] == [web.device]
        assert await ring.stored() == 0
        for twice in (envelope(web), foreign):
            answer = await ann.attempt(talk, envelopes=[*ring.envelopes(), twice])
            assert (answer.code, answer.details) == ("bad_request", {"field": "envelopes"})
        # With the right ones the same message goes, with the same seqNum.
        sent = await ann.say(talk, message_id=same, seq_num=1, envelopes=ring.envelopes())
        assert sent.seq == 1
        assert opened(await bob.expect(frames.Message)) == f"for {phone.device}"
        # Clients that do not encrypt, or encrypt otherwise, send as ever.
        assert (await ann.say(talk, "plain", seq_num=2)).seq == 2
        assert (await ann.say(talk, "plain", seq_num=3, envelopes=[])).seq == 3


def test_the_hash_of_members_is_as_documented() -> None:
    users = ["019a0c41-02b7-7f60-8d0c-2b7a3c9de402", "019a0c40-7d1e-7c2b-9a41-5f2f8d7f1a01"]
    hashed = hashlib.sha256(b"".join(sorted(uuid.UUID(user).bytes for user in users))).hexdigest()
    assert member_hash(users) == member_hash(users[::-1]) == hashed
    page = Path("docs/wire.md").read_text()
    assert all(text in page for text in (*users, hashed))


async def test_what_was_stored_is_repeated_whatever_the_devices_are_now(stack: Any) -> None:
    ring = await Ring.meet(stack)
    async with (
        await Peer.open(ring.urls[0], ring.phone) as ann,
        await Peer.open(ring.urls[1], ring.bobs[0]) as bob,
    ):
        message = ann.message(ring.conversation, "sealed", seq_num=1, envelopes=ring.envelopes("first"))
        first = await ann.ask(message)
        assert (first.status, first.duplicate) == ("sent", False)
        # Encrypted anew, for too few, for who is gone: it is the same message.
        for others in (ring.envelopes("again"), ring.envelopes("again", but=ring.laptop), None):
            message.envelopes = others
            again = await ann.ask(message)
            assert (again.duplicate, again.seq, again.timestamp) == (True, first.seq, first.timestamp)
        message.encrypted_content = b"another"
        message.envelopes = ring.envelopes("again", but=ring.laptop)
        assert (await ann.ask(message)).code == "conflict"
        assert opened(await bob.expect(frames.Message)) == "first"
        assert opened((await ring.items(ring.bobs[1]))[0]) == "Zmlyc3Q="


async def test_a_delete_takes_the_envelopes_and_an_edit_leaves_them(stack: Any, codec: str) -> None:
    ring = await Ring.meet(stack)
    web = ring.bobs[2]
    async with await Peer.open(ring.urls[0], ring.phone, codec) as ann:
        talk = ring.conversation
        kept, gone, brief = [
            await ann.say(talk, text, envelopes=ring.envelopes(), expires_in=expires)
            for text, expires in (("one", None), ("two", None), ("three", 3_600))
        ]
        await done(ann, edit(talk, kept.message_id or "", "one, edited"))
        await done(ann, delete(talk, gone.message_id or ""))
        async with stack.stored() as log:
            await log.age(talk, 3_600_001, only=brief.seq or 0)
        async with await Peer.open(ring.urls[1], web, codec, sync=False) as late:
            events = {e.seq: e for e in events_of(await late.sync()) if isinstance(e, frames.Message)}
        one, two, three = (events[sent.seq or 0] for sent in (kept, gone, brief))
        assert (one.encrypted_content, one.edited, one.envelope) == (b"one, edited", True, envelope(web))
        for event in (two, three):
            assert (event.deleted, event.encrypted_content, event.envelope) == (True, None, None)
        shown = [opened(item) for item in await ring.items(web)]
        assert [one is not None for one in shown[:3]] == [True, False, False]
        async with stack.stored() as log:
            assert await log.enveloped(talk) == [kept.seq, brief.seq]
            await log.due(talk, 3_600_001)
            await log.store.vanish(brief.timestamp, 1000)
            assert await log.enveloped(talk) == [kept.seq]


async def test_gateways_hear_at_once_of_other_devices(stack: Any) -> None:
    """Bob is at no gateway: whoever has his devices in its cache is told all the same."""
    ring = await Ring.meet(stack)
    _, tablet, web = ring.bobs
    async with (
        await Peer.open(ring.urls[0], ring.phone) as ann,
        await Peer.open(ring.urls[1], ring.laptop) as own,
    ):
        await ann.say(ring.conversation, envelopes=ring.envelopes())
        await unlinks(web)
        ring.bobs.remove(web)
        found = await mismatch(ann, ring.conversation, [*ring.envelopes(), envelope(web)])
        assert found == {"missing": [], "extra": named([web]), "stale": []}
        await ann.say(ring.conversation, envelopes=ring.envelopes())
        # The other way about an old list would let it pass; so it must be forgotten, at both gateways.
        for_own = [envelope(phone) for phone in (ring.phone, *ring.bobs)]
        await own.say(ring.conversation, envelopes=for_own)
        newer = await link(tablet)
        await keys(newer)
        for peer, envelopes in ((ann, ring.envelopes()), (own, for_own)):
            refused = await until(
                lambda p=peer, e=envelopes: _refused(p, ring.conversation, e), "it is missed"
            )
            assert refused == {"missing": named([newer]), "extra": [], "stale": []}


async def _refused(peer: Peer, conversation: str, envelopes: list[Envelope]) -> dict[str, Any] | None:
    answer = await peer.attempt(conversation, envelopes=envelopes)
    return answer.details if isinstance(answer, frames.Error) else None


async def test_a_block_changes_nothing_of_it(stack: Any) -> None:
    ring = await Ring.meet(stack)
    await block(ring.bobs[0], ring.phone)
    async with (
        await Peer.open(ring.urls[0], ring.phone) as ann,
        await Peer.open(ring.urls[1], ring.laptop) as own,
        await Peer.open(ring.urls[1], ring.bobs[0]) as bob,
    ):
        found = await mismatch(ann, ring.conversation, ring.envelopes(but=ring.bobs[1]))
        assert found == {"missing": named([ring.bobs[1]]), "extra": [], "stale": []}
        await ann.say(ring.conversation, envelopes=ring.envelopes())
        assert opened(await own.expect(frames.Message)) == f"for {ring.laptop.device}"
        await bob.round_trip()
        assert not bob.waiting(frames.Message)


async def test_a_long_backlog_holds_the_envelopes_of_its_device(stack: Any, codec: str) -> None:
    """By the drain task."""
    ring = await Ring.meet(stack)
    web = ring.bobs[2]
    async with await Peer.open(ring.urls[0], ring.phone, codec) as ann:
        await ann.say(ring.conversation, "sealed", envelopes=ring.envelopes())
        await fill(ann, ring.conversation, 520)
        await ann.say(ring.conversation, "sealed", envelopes=ring.envelopes())
    before = _drained(stack)
    async with await Peer.open(ring.urls[1], web, codec, sync=False) as late:
        events = events_of(await late.sync())
    assert [e.seq for e in events if e.envelope] == [1, 522]
    assert {e.envelope for e in events if e.envelope is None} == {None}
    assert all(e.envelope == envelope(web) for e in events if e.envelope)
    assert _drained(stack) > before, "a task has written it"


def _drained(stack: Any) -> int:
    total = 0
    for gateway in stack.gateways.values():
        text = httpx.get(gateway["metrics"], trust_env=False).text
        for line in text.splitlines():
            if line.startswith("whatsapp_drains_total") and 'kind="part"' in line:
                total += int(float(line.rsplit(" ", 1)[1]))
    return total


async def test_a_group_by_devices_or_by_the_hash_of_its_members(stack: Any, codec: str) -> None:
    ring = await Ring.meet(stack)
    phone, tablet, web = ring.bobs
    carl = await sign_up(stack)
    await keys(carl)
    group = await make(ring.phone, phone, carl)
    everybody = member_hash([ring.phone.user, phone.user, carl.user])
    async with (
        await Peer.open(ring.urls[0], ring.phone, codec) as ann,
        await Peer.open(ring.urls[1], phone, codec) as bob,
        await Peer.open(ring.urls[1], carl, codec) as third,
    ):
        start = (await ann.say(group, "plain")).seq or 0
        # Without the hash, everybody's devices or nothing.
        found = await mismatch(ann, group, ring.envelopes())
        assert found == {"missing": named([carl]), "extra": [], "stale": []}
        await ann.say(group, "for all", envelopes=[*ring.envelopes(), envelope(carl)])
        # With it, for those who lack the sender's key; what is given is looked at all the same.
        await ann.say(group, "for some", envelopes=[envelope(tablet), envelope(carl)], member_hash=everybody)
        await ann.say(group, "for none", member_hash=everybody)
        found = await mismatch(
            ann, group, [envelope(ring.phone), envelope(web, registration_id=1)], member_hash=everybody
        )
        assert (found["missing"], found["extra"], found["stale"]) == ([], named([ring.phone]), named([web]))
        for peer, sealed in ((bob, ["for all"]), (third, ["for all", "for some"])):
            got = await peer.messages(4)
            assert [m.seq for m in got] == [start, start + 1, start + 2, start + 3]
            assert [(m.encrypted_content or b"").decode() for m in got if m.envelope] == sealed
            assert all(m.envelope in (None, envelope(peer.phone)) for m in got)
        # Somebody has left: who encrypts for the members of a moment ago is told, and in a direct conversation too.
        await carl.rest("DELETE", f"/groups/{group}/members/{carl.user}")
        refused = await until(lambda: _code(bob, group, everybody), "its gateway has the new list")
        assert refused == ("member_mismatch", True)
        now = member_hash([ring.phone.user, phone.user])
        await bob.say(group, envelopes=[envelope(tablet)], member_hash=now)
        direct = await ann.attempt(ring.conversation, member_hash=everybody)
        assert direct.code == "member_mismatch"
        found = await mismatch(ann, ring.conversation, [envelope(tablet)], member_hash=now)
        assert found["missing"] == named([ring.laptop, phone, web]), "of two people all devices, hash or not"
        for bad in ("abc", now.upper(), now + "0"):
            answer = await ann.attempt(group, member_hash=bad)
            assert (answer.code, answer.details) == ("bad_request", {"field": "memberHash"})


async def _code(peer: Peer, conversation: str, hashed: str) -> tuple[str, bool] | None:
    answer = await peer.attempt(conversation, member_hash=hashed)
    return (answer.code, answer.retryable) if isinstance(answer, frames.Error) else None


async def test_an_envelope_of_the_greatest_size(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    await keys(bob)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, bob, codec) as b:
        answer = await a.attempt(conversation, b"", envelopes=[envelope(bob, "x" * 65_537)])
        assert answer.code == "too_large"
        large = envelope(bob, "x" * 65_536)
        await a.say(conversation, b"", envelopes=[large])
        assert (await b.expect(frames.Message)).envelope == large
        assert [e.envelope for e in events_of(await b.sync({conversation: 0}))] == [large]
