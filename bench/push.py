"""Push notifications, from ✓ until the provider has accepted: ``./dev bench push``.

Starts a system of its own and a provider (APNs as its documentation describes it, HTTP/2 over TLS) in a process of its own.
People who are away are written to: one message each at a rate, then one each as fast as it goes, then one into a group of all of
them. Shown: ✓ → accepted p50 and p99, and notifications for each CPU-second of the worker that sends. How to read it:
``docs/bench.md``. Exit code 1 if a notification is missing or came twice.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.figures import Figures, combine, percentiles
from bench.frames import CODECS
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.push_provider import APP, Provider
from bench.push_running import run_beside_provider
from bench.push_writers import Places, connected, write_at_once, write_at_rate
from bench.running import common_options, verdict

_QUIET_S: Final = 2.0  # after the last one that was expected: one that comes twice comes now
_AT_ONCE: Final = 8  # requests, while everybody is made
_WAYS: Final = {
    "rate": "one message each, {rate:g} a second",
    "at_once": "one message each, as fast as it goes",
    "group": "one message into a group of all",
}


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench push", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--people", type=int, default=1_000, help="who are away, 1,023 at most (default 1000)"
    )
    parser.add_argument("--writers", type=int, default=20, help="who write to them (default 20)")
    parser.add_argument("--rate", type=float, default=100, help="messages a second (default 100)")
    parser.add_argument(
        "--in-flight",
        type=int,
        default=200,
        help="messages without their ✓, as fast as it goes (default 200)",
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-preview", action="store_true", help="devices without keys: nothing is sealed")
    parser.add_argument(
        "--timeout",
        type=float,
        default=120,
        metavar="SECONDS",
        help="until the last is accepted (default 120)",
    )
    common_options(parser)
    return parser


def main() -> int:
    return run_beside_provider("push", options().parse_args(), measure)


def measure(bench: Bench, provider: Provider) -> Figures:
    args, system = bench.options, bench.system
    result: Figures = {
        "bench": "push",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {
            "people": args.people,
            "writers": args.writers,
            "rate": args.rate,
            "in_flight": args.in_flight,
            "runs": args.runs,
            "preview": not args.no_preview,
            "body_bytes": args.body_bytes,
            "codec": args.codec,
            "cores": str(system.cores),
        },
    }
    print(f"push, {result['date']}, commit {result['versions']['commit']}; {system.cores}", flush=True)
    result["ways"] = asyncio.run(_Run(bench, provider).all())
    result["load_average"] = round(load_average(), 2)
    print(told(result), flush=True)
    result["checks"] = verdict(bench, "every notification was accepted by the provider, once")
    return result


class _Run:
    def __init__(self, bench: Bench, provider: Provider) -> None:
        self._bench, self._provider = bench, provider

    async def all(self) -> Figures:
        """Way → ``combine`` of its runs."""
        bench, args, system = self._bench, self._bench.options, self._bench.system
        count = args.people
        places = [number % args.writers for number in range(count)]
        made = system.make_people(
            count + args.writers,
            [(count + place, number) for number, place in enumerate(places)],
            [[count, *range(count)]],
        )
        away = made["people"][:count]
        self._tokens = [person["device"].replace("-", "") * 2 for person in away]
        self._reach(away)
        people = made["people"][count:]
        urls = [system.url(number, "across") for number in range(len(people))]
        writers = await connected(CODECS[args.codec](), people, urls, os.urandom(args.body_bytes))
        to: Places = list(zip(places, made["conversations"], strict=True))
        group: Places = [(0, made["groups"][0])]
        wait = args.timeout
        ways: dict[str, Callable[[], Awaitable[list[float]]]] = {
            "rate": lambda: write_at_rate(writers, to, args.rate, wait),
            "at_once": lambda: write_at_once(writers, to, args.in_flight, wait),
            "group": lambda: write_at_once(writers, group, 1, wait),
        }
        found: dict[str, list[Figures]] = {way: [] for way in ways}
        await self._one(ways["at_once"])  # whatever is loaded with the first is loaded now
        for _ in range(args.runs):
            for way, write in ways.items():
                found[way].append(await self._one(write))
        for writer in writers:
            bench.blame(dict(writer.problems))
            writer.close()
        return {way: combine(runs) for way, runs in found.items()}

    def _reach(self, people: Sequence[dict[str, str]]) -> None:
        """Each sets where it is reached, with keys unless ``--no-preview``."""
        body: dict[str, object] = {"app": APP}
        if not self._bench.options.no_preview:
            public = ec.generate_private_key(ec.SECP256R1()).public_key()
            point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            body["keys"] = {"p256dh": _base64url(point), "auth": _base64url(os.urandom(16))}
        port = self._bench.system.stack.port

        def put(one: tuple[dict[str, str], str]) -> None:
            person, token = one
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/devices/{person['device']}/push",
                json.dumps({**body, "token": token}).encode(),
                {"Authorization": f"Bearer {person['token']}", "Content-Type": "application/json"},
                method="PUT",
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(put, zip(people, self._tokens, strict=True)))

    async def _one(self, write: Callable[[], Awaitable[list[float]]]) -> Figures:
        system, count = self._bench.system, len(self._tokens)
        await asyncio.to_thread(system.settle)
        self._provider.accepted()  # what came since is of nobody
        meters = system.meter(), system.push_meter()
        before, sending = (meter.read() for meter in meters)
        began = time.perf_counter()
        times = await write()
        accepted = await self._accepted(count)
        used, used_sending = meters[0].read().since(before), meters[1].read().since(sending)
        late = await self._accepted(0, _QUIET_S)
        self._check(accepted, late)
        sent = dict(zip(self._tokens, times if len(times) == count else times * count, strict=True))
        firsts = {token: min(at) for token, at in accepted.items() if token in sent}
        waits = [at - sent[token] for token, at in firsts.items()]
        worker = sum(used_sending.values())
        return {
            "sent_to_accepted_ms": percentiles(waits, 1_000.0, 1),
            "last_accepted_s": round(max(firsts.values(), default=began) - began, 2),
            "notifications_per_worker_cpu_second": round(len(firsts) / worker) if worker else 0,
            "cpu_us_per_notification": {
                **{name: round(seconds / count * 1e6, 1) for name, seconds in used.items()},
                "push_worker": round(worker / count * 1e6, 1),
            },
        }

    async def _accepted(self, count: int, seconds: float = 0.0) -> dict[str, list[float]]:
        """Until ``count`` tokens were sent to, or for so long."""
        found: dict[str, list[float]] = {}
        ends = time.perf_counter() + (seconds or self._bench.options.timeout)
        while (len(found) < count or seconds) and time.perf_counter() < ends:
            await asyncio.sleep(0.1)
            for token, at in self._provider.accepted().items():
                found.setdefault(token, []).extend(at)
        return found

    def _check(self, accepted: dict[str, list[float]], late: dict[str, list[float]]) -> None:
        missing = [token for token in self._tokens if token not in accepted]
        if missing:
            self._bench.blame({"not_accepted": len(missing)}, [f"{missing[0]}: not in time"])
        twice = sum(len(at) - 1 for at in accepted.values()) + sum(map(len, late.values()))
        if twice:
            self._bench.blame({"more_than_once": twice})


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def told(result: Figures) -> str:
    load = result["load"]
    lines = [
        f"\n{load['people']:,} people who are away, {'with' if load['preview'] else 'without'} a sealed preview"
    ]
    for way, text in _WAYS.items():
        median, spread = result["ways"][way]["median"], result["ways"][way]["spread"]
        wait, low_high = median["sent_to_accepted_ms"], spread["notifications_per_worker_cpu_second"]
        lines.append(
            f"  {text.format(rate=load['rate']):40}✓ to accepted p50 / p99"
            f" {wait.get('p50', 0):,.0f} / {wait.get('p99', 0):,.0f} ms, the last after {median['last_accepted_s']:.1f} s;"
            f" {median['notifications_per_worker_cpu_second']:,.0f} ({low_high[0]:,.0f} to {low_high[1]:,.0f}) a CPU-second of"
            " the push worker"
        )
        cpu = ", ".join(f"{name} {us:,.0f}" for name, us in median["cpu_us_per_notification"].items())
        lines.append(f"  {'':40}CPU us a notification: {cpu}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
