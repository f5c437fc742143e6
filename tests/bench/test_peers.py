"""Benches of peers: what their servers say is read as it is, what they lose is seen, a ratio is of runs that belong together."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pytest

from bench.cores import Cores
from bench.couples import Tally
from bench.figures import combine
from bench.peers import channels, measuring, ratios, told, xmpp
from bench.peers.chatter import Chatter
from devtools import packages

# As ejabberd 23.01 wrote it.
HEADER = (
    b"<?xml version='1.0'?><stream:stream id='13993991490338854981' version='1.0' xml:lang='en' "
    b"xmlns:stream='http://etherx.jabber.org/streams' from='localhost' xmlns='jabber:client'>"
)
FEATURES = (
    b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'>"
    b"<optional/></session><sm xmlns='urn:xmpp:sm:2'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
)
MESSAGE = (
    b"<message xml:lang='en' to='u0@localhost' from='u1@localhost/d' type='chat' id='u1-7'><archived by='u0@localhost' "
    b"id='1795745767999948' xmlns='urn:xmpp:mam:tmp'/><stanza-id by='u0@localhost' id='1795745767999948' "
    b"xmlns='urn:xmpp:sid:0'/><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>"
    b"<body>hello&gt;&lt;</body></message>"
)
RECEIPT = (
    b"<message xml:lang='en' to='u0@localhost' from='u1@localhost/d' type='chat' id='d9'>"
    b"<received xmlns='urn:xmpp:receipts' id='u0-3'/></message>"
)
MARKER = (
    b"<message xml:lang='en' to='u0@localhost' from='u1@localhost/d' type='chat' id='r9'>"
    b"<displayed xmlns='urn:xmpp:chat-markers:0' id='u0-3'/></message>"
)
ACK = b"<a h='2' xmlns='urn:xmpp:sm:3'/>"


def test_a_stream_is_split_wherever_it_is_cut() -> None:
    stream = HEADER + FEATURES + ACK + MESSAGE + b"\n" + RECEIPT + MARKER + b"</stream:stream>"
    wanted = [FEATURES, ACK, MESSAGE, RECEIPT, MARKER, b"</stream:stream>"]
    for size in (1, 2, 7, 64, len(stream)):
        found: list[bytes] = []
        rest = b""
        for at in range(0, len(stream), size):
            some, rest = xmpp.split(rest + stream[at : at + size])
            found += some
        assert (found, rest) == (wanted, b"")


def test_text_between_stanzas_is_no_stream() -> None:
    with pytest.raises(xmpp.BrokenStream):
        xmpp.split(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_what_is_read_of_a_stanza() -> None:
    assert xmpp.attribute(MESSAGE, b"id") == b"u1-7"  # not the archive's
    assert xmpp.body_of(MESSAGE) == b"hello&gt;&lt;"
    assert xmpp.receipt_of(MESSAGE) is None
    assert xmpp.receipt_of(RECEIPT) == ("delivered", b"u0-3")
    assert xmpp.receipt_of(MARKER) == ("read", b"u0-3")
    assert xmpp.body_of(RECEIPT) is None
    assert xmpp.attribute(ACK, b"h") == b"2"
    assert xmpp.attribute(b"<r xmlns='urn:xmpp:sm:3'/>", b"h") == b""


def test_what_is_written_is_split_again() -> None:
    whole = xmpp.message(b"u1@localhost", b"u0-1", b"aGk=", receipts=True)
    assert [stanza[:3] for stanza in xmpp.split(whole)[0]] == [b"<me", b"<r "]
    for stanza, status in (
        (xmpp.received(b"u0", 1, b"k"), "delivered"),
        (xmpp.displayed(b"u0", 1, b"k"), "read"),
    ):
        assert xmpp.receipt_of(stanza) == (status, b"k")
    assert xmpp.receipt_of(xmpp.message(b"u1", b"k", b"aGk=", receipts=False)) is None


class Silent(Chatter):
    """Writes nothing; the test says what it hears."""

    async def connect(self) -> None: ...

    def close(self) -> None: ...

    def write_message(self, key: bytes) -> None: ...
    def write_delivered(self, key: bytes) -> None: ...
    def write_read(self, key: bytes) -> None: ...


def pair(receipts: bool) -> tuple[Silent, Silent, Tally]:
    tally = Tally()
    a, b = (Silent(tally, {"user": name}, b"body", receipts) for name in "ab")
    a.partner, b.partner = b, a
    return a, b, tally


async def test_a_life_on_a_peer_is_over_when_all_of_it_has_happened() -> None:
    a, b, tally = pair(receipts=True)
    a.begin(time.perf_counter())
    b.heard(b"a-1", a.body)
    a.sent(b"a-1")
    a.receipt("delivered", b"a-1")
    assert tally.completed == 0
    a.receipt("read", b"a-1")
    assert tally.completed == 1
    assert not tally.problems
    assert {step: len(values) for step, values in tally.mark().items()} == dict.fromkeys(
        ("sent", "received", "delivered", "read"), 1
    )


async def test_a_bare_message_has_no_latency_of_receipts() -> None:
    a, b, tally = pair(receipts=False)
    a.begin(time.perf_counter())
    b.heard(b"a-1", a.body)
    assert tally.completed == 1
    assert [step for step, values in tally.mark().items() if values] == ["received"]


async def test_what_a_peer_does_wrong_is_a_problem() -> None:
    a, b, tally = pair(receipts=True)
    for _ in range(3):
        a.begin(time.perf_counter())
    b.heard(b"a-2", a.body)
    b.heard(b"a-2", a.body)
    b.heard(b"a-1", a.body)
    b.heard(b"a-3", b"another")
    a.receipt("delivered", b"a-9")
    assert set(tally.problems) == {
        "duplicate_or_unknown_message", "order_received", "altered_message", "duplicate_or_unknown_receipt",
    }  # fmt: skip


def test_ratios_are_of_runs_that_belong_together() -> None:
    found = ratios.paired([100, 300, 200], [50, 100, 40])
    assert found == {"ours": 200, "theirs": 50, "ratio": 3.0, "spread": [2.0, 5.0], "runs": 3}
    assert ratios.paired([100, None, 200], [0, 10, 50]) == {
        "ours": 200, "theirs": 50, "ratio": 4.0, "spread": [4.0, 4.0], "runs": 1,
    }  # fmt: skip
    assert ratios.paired([], [1.0]) == {}


def _run(lives: float, p99: float, begun: float = 500.0) -> dict[str, Any]:
    return {
        "lives_per_cpu_second": lives, "lives_per_second": 500.0, "begun_per_second": begun,
        "latency_ms": {"delivered": {"p50": 1.0, "p99": p99}},
    }  # fmt: skip


def test_ratios_of_a_result() -> None:
    ours = {"rate": combine([_run(1000, 20), _run(2000, 30)])}
    theirs = {
        "rate": {"life": combine([_run(500, 40), _run(500, 40)]), "message": combine([_run(4000, 9)] * 2)}
    }
    found = ratios.of(ours, theirs)
    assert found["lives_at_rate"]["ratio"] == 3.0
    assert found["lives_to_messages_at_rate"]["spread"] == [0.25, 0.5]
    assert found["delivered_p99"]["ratio"] == 0.625
    assert "lives" not in found  # no saturation was measured
    text = told.ratios("ejabberd", found)
    assert "lives / CPU-second at the rate" in text
    better = {line.split("  ")[1]: line.endswith("better") for line in text.splitlines()[2:]}
    assert better["delivered p99 ms at the rate"], text
    assert not better["our whole life to its bare message"], text


def test_a_peer_that_does_not_keep_up_is_told() -> None:
    ours, theirs = combine([_run(1000, 20)]), combine([_run(500, 4000, begun=600)])
    found = ratios.of({"rate": ours}, {"rate": {"life": theirs}})
    assert not found["delivered_p99"]["both_keep_up"]
    text = told.ratios("channels", found)
    assert "void: one does not keep up" in text
    assert "better" not in text


def test_without_rights_a_developer_is_told_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bench.peers import ejabberd
    from devtools.errors import DevError

    monkeypatch.setattr(packages, "missing", lambda needed: list(needed))
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    here = ejabberd.Ejabberd(tmp_path, Cores.choose(1), lambda text: None)
    with pytest.raises(
        DevError,
        match=r"bench --peer ejabberd needs .*\n.*\n.*\nrun: sudo apt-get install .*ejabberd erlang-p1-pgsql",
    ):
        here.prepare()


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "channels",
        "channels-pubsub",
        pytest.param(
            "ejabberd",
            # By hand: its package starts a service of its own, which no test brings to a machine.
            marks=[
                pytest.mark.long,
                pytest.mark.skipif(
                    not Path("/usr/sbin/ejabberdctl").exists(),
                    reason="./dev bench one_to_one --peer ejabberd installs it",
                ),
            ],
        ),
    ],
)
def test_a_peer_under_load(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o711)  # PostgreSQL may run as another user
    options = argparse.Namespace(pairs=4, clients=1, body_bytes=32, warm_up=0.2, seconds=1.0)
    every = Cores(*(frozenset(Cores.choose(1).servers | Cores.choose(1).client),) * 2)
    with measuring.running([name], options, tmp_path, every, lambda text: None) as peers:
        one = peers[name]
        whole = one.saturation(8, receipts=True)
        bare = one.open_rate(50, 0, receipts=False)
        idle = one.idle(20)
        checks = one.check()
    assert whole["lives"] > 0
    assert whole["latency_ms"]["read"]["p50"] >= 20  # ms after the message
    assert bare["latency_ms"]["received"]["p50"] > 0
    assert not bare["latency_ms"]["read"]
    assert idle["connects_per_cpu_second"] > 0
    assert not checks["problems"], checks
    assert checks["messages"] > 0


@pytest.mark.long
@pytest.mark.parametrize("connections", [4_000, 100])
def test_channels_needs_more_connections_than_a_pool_of_redis_py_has(
    connections: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 consumers in two processes send at the same moment. With the default, 100, those who get none end their sockets."""
    monkeypatch.setattr(channels.Channels, "connections", connections)
    options = argparse.Namespace(pairs=150, clients=1, body_bytes=32, warm_up=0.2, seconds=1.0)
    every = Cores(*(frozenset(Cores.choose(1).servers | Cores.choose(1).client),) * 2)
    with measuring.running(["channels"], options, tmp_path, every, lambda text: None) as peers:
        peers["channels"].saturation(300, receipts=False)
        problems = peers["channels"].check()["problems"]
    assert problems.get("closed", 0) == 0 if connections > 100 else problems["closed"] > 0
