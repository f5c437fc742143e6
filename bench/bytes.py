"""What a phone pays for: bytes of each frame, of a message's whole life, and of an idle hour: ``./dev bench bytes``.

Starts a system of its own. Two people for each codec talk over plain sockets; payload and framing are counted as they go over
them, segments by the kernel (TCP_INFO), TLS by OpenSSL in memory, compression by zlib. How to read it: ``docs/bench.md``.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import sys
import time
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from bench.counted import SEGMENT, Counted, Frame, Tcp, deflated, tls
from bench.figures import Figures
from bench.machine import machine, versions
from bench.phases import Bench
from bench.running import common_options, run, say, verdict
from whatsapp.wire import frames as wire
from whatsapp.wire.codec import CODECS

#: Until delayed acknowledgements of TCP are out (40 ms) and nothing more comes.
_QUIET_S = 0.25
_HOUR_S = 3_600


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench bytes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lives", type=int, default=20, metavar="N", help="messages of each codec (default 20)"
    )
    parser.add_argument(
        "--idle", type=float, default=95, metavar="S", help="seconds of silence, for pings (default 95)"
    )
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients = 1
    return run("bytes", args, measure)


def measure(bench: Bench) -> Figures:
    """Both codecs, then silence on all four sockets, and what TLS and compression would do."""
    args, system = bench.options, bench.system
    result: Figures = {
        "bench": "bytes",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "body_bytes": args.body_bytes,
        "segment_bytes": SEGMENT,
        "tls": tls(),
        "codecs": {},
    }
    pairs: list[Counted] = []
    for name in CODECS:
        say(f"{name}: {args.lives} messages")
        figures, sockets = _talk(bench, name)
        result["codecs"][name] = figures
        pairs += sockets
    say(f"idle for {args.idle:g} s")
    result["idle"] = _idle(pairs, args.idle, pairs[0].ping_ms)
    if not result["idle"]["pings"] or result["idle"]["others"]:
        seen = f"{result['idle']['pings']} pings in {args.idle:g} s of silence"
        bench.blame({"idle": 1}, [f"{seen}, and {result['idle']['others'] or 'nothing'} else"])
    for one in pairs:
        if wrong := one.unexplained():
            bench.blame({"bytes": 1}, [f"frames and kernel differ by {wrong}"])
        one.close()
    print(told(result), flush=True)
    result["checks"] = verdict(
        bench, "frames are what the kernel counted; in the silence pings and nothing else"
    )
    return result


def _talk(bench: Bench, name: str) -> tuple[Figures, list[Counted]]:
    system, args, codec = bench.system, bench.options, CODECS[name]
    made = system.make_people(2, [(0, 1)])
    (ann, bob), (conversation,) = made["people"], made["conversations"]
    a = Counted(system.url(0, "across"), codec)
    a.send(wire.Auth(ann["token"]))
    b = Counted(system.url(1, "across"), codec, token=bob["token"])
    for one in (a, b):
        one.ping_ms = one.expect("ready").ping_ms
        one.send(wire.Sync())
        one.expect("sync_complete")
        one.read(_QUIET_S)
    lives = [_life(a, b, conversation, ann, number, args.body_bytes) for number in range(1, args.lives + 1)]
    _beside(a, b, conversation, ann, system.url(0, "across"))
    figures: Figures = {
        "frames": _by_kind([*a.frames, *b.frames]),
        "upgrade": {"token_in_frame": a.upgrade, "token_in_header": b.upgrade},
        "token_bytes": len(ann["token"]),
        "life": {
            side: {
                name: statistics.median(getattr(life[side], name) for life in lives) for name in Tcp._fields
            }
            for side in ("sender", "recipient")
        },
        "deflate": {
            way: {
                "plain": sum(map(len, payloads)),
                "kept_context": deflated(payloads, keep=True),
                "no_context": deflated(payloads, keep=False),
            }
            for way, payloads in (
                (way, [*a.payloads[way], *b.payloads[way]]) for way in ("up", "down")
            )
        },
    }  # fmt: skip
    return figures, [a, b]


def _life(a: Counted, b: Counted, conversation: str, ann: Any, number: int, size: int) -> dict[str, Tcp]:
    """A message, its ✓, ack and both receipts; bytes and segments at each end until all is quiet."""
    before = a.tcp(), b.tcp()
    sent = wire.SendMessage(
        message_id=str(uuid.uuid4()), conversation_id=conversation, encrypted_content=os.urandom(size),
        timestamp=int(time.time() * 1000), seq_num=number,
    )  # fmt: skip
    a.send(sent)
    a.expect("status_update sent")
    message = b.expect("message")
    b.send(wire.Ack({conversation: message.seq}))
    a.expect("status_update delivered")
    b.send(wire.StatusUpdate(conversation, "read", up_to=message.seq))
    a.expect("status_update read")
    for one in (a, b):
        one.read(_QUIET_S)
    return {"sender": a.tcp().since(before[0]), "recipient": b.tcp().since(before[1])}


def _beside(a: Counted, b: Counted, conversation: str, ann: Any, url: str) -> None:
    """Typing, following, coming and going: each once."""
    a.send(wire.Typing(conversation, True))
    b.expect("typing")
    a.send(wire.Typing(conversation, False))
    b.expect("typing")
    b.send(wire.PresenceSubscribe([ann["user"]]))
    b.expect("presence online")
    for one in (a, b):
        one.read(_QUIET_S)


def _by_kind(seen: list[Frame]) -> Figures:
    """ "up send_message" → median payload and framing, and how many there were."""
    kinds: defaultdict[str, list[Frame]] = defaultdict(list)
    for frame in seen:
        kinds[f"{frame.way} {frame.kind}"].append(frame)
    return {
        kind: {
            "payload": statistics.median(frame.payload for frame in found),
            "framing": statistics.median(frame.framing for frame in found),
            "count": len(found),
        }
        for kind, found in kinds.items()
    }


def _idle(sockets: list[Counted], seconds: float, ping_ms: int) -> Figures:
    """Nobody says anything: what goes over each connection all the same, and how often in an hour."""
    for one in sockets:
        one.read(_QUIET_S)
    before = [(one.tcp(), len(one.frames)) for one in sockets]
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for one in select.select(sockets, [], [], left)[0]:
            one.read(0)
    for one in sockets:
        one.read(_QUIET_S)
    used = [one.tcp().since(tcp) for one, (tcp, _) in zip(sockets, before, strict=True)]
    heard = [one.frames[count:] for one, (_, count) in zip(sockets, before, strict=True)]
    pings = sum(frame.kind == "ping" for each in heard for frame in each)
    per_ping = {
        name: round(sum(getattr(tcp, name) for tcp in used) / max(pings, 1), 2) for name in Tcp._fields
    }
    return {
        "seconds": seconds,
        "pings": pings,
        "others": sorted({frame.kind for each in heard for frame in each} - {"ping", "pong"}),
        "pings_per_hour": round(_HOUR_S * 1_000 / ping_ms, 1),
        "per_ping": per_ping,
    }


# -- as text ---------------------------------------------------------------------------------------------------------------


def told(result: Figures) -> str:
    """The figures as text."""
    record = result["tls"]["record"]
    lines = [
        f"\nbytes, {result['date']}, commit {result['versions']['commit']}; content of {result['body_bytes']} bytes",
        "  a frame: payload + WebSocket + TLS record + one TCP segment = on the wire",
    ]
    names = list(result["codecs"])
    lines.append(f"  {'':34}" + "".join(f"{name:>34}" for name in names))
    for kind in sorted({kind for name in names for kind in result["codecs"][name]["frames"]}):
        row = f"  {kind:34}"
        for name in names:
            seen = result["codecs"][name]["frames"].get(kind)
            if seen is None:
                row += f"{'':>34}"
                continue
            total = seen["payload"] + seen["framing"] + record + SEGMENT
            parts = f"{seen['payload']:,.0f} + {seen['framing']:.0f} + {record} + {SEGMENT} = {total:,.0f}"
            row += f"{parts:>34}"
        lines.append(row)
    lines.append("  a message's life: bytes of WebSocket + TLS records + segments = on the wire, up and down")
    for name in names:
        for side, one in result["codecs"][name]["life"].items():
            for way in ("up", "down"):
                stream, segments = one[f"bytes_{way}"], one[f"segments_{way}"]
                records = records_of_a_life(side, way)
                total = stream + record * records + SEGMENT * segments
                lines.append(
                    f"    {name:9} {side:10} {way:5} {stream:6,.0f} + {records} x {record} + {segments:.0f} x {SEGMENT}"
                    f" = {total:,.0f}"
                )
    idle = result["idle"]
    per, hour = idle["per_ping"], idle["pings_per_hour"]
    wire_bytes = {
        way: per[f"bytes_{way}"] + record + SEGMENT * per[f"segments_{way}"] for way in ("up", "down")
    }
    lines.append(
        f"  an idle hour: {hour:g} pings, each {per['bytes_down']:g} down and {per['bytes_up']:g} up in"
        f" {per['segments_down']:g} and {per['segments_up']:g} segments: {wire_bytes['down'] * hour:,.0f} down,"
        f" {wire_bytes['up'] * hour:,.0f} up; other frames: {idle['others'] or 'none'}"
    )
    hands = result["tls"]
    lines.append(
        f"  TLS 1.3: {record} bytes a record; handshake {hands['full_handshake_up']:,} up, {hands['full_handshake_down']:,} down;"
        f" resumed {hands['resumed_handshake_up']:,} up, {hands['resumed_handshake_down']:,} down"
    )
    for name in names:
        for way, one in result["codecs"][name]["deflate"].items():
            lines.append(
                f"  permessage-deflate, {name} {way}: {one['plain']:,} -> {one['kept_context']:,} with one context,"
                f" {one['no_context']:,} without"
            )
    return "\n".join(lines)


def records_of_a_life(side: str, way: str) -> int:
    """Frames: send_message up and three ``status_update`` down; ``message`` down, ack and read up."""
    return {("sender", "up"): 1, ("sender", "down"): 3, ("recipient", "up"): 2, ("recipient", "down"): 1}[
        side, way
    ]


if __name__ == "__main__":
    sys.exit(main())
