"""./dev bench push_burst: calls while a message into full groups tells 100,000 people who are away.

Everybody is away and reached by push; the provider stands beside the system. First somebody is called a few times a second and
nothing else happens, then a message goes into each of many full groups at once, and others are called meanwhile. Measured is how
long a call takes from the process that signals it to the provider, in both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from bench.figures import Figures, percentiles
from bench.frames import CODECS
from bench.machine import load_average, machine, protections, versions
from bench.phases import Bench
from bench.push_provider import APP, Provider
from bench.push_running import run_beside_provider
from bench.push_writers import connected, write_at_once
from bench.running import common_options, verdict
from devtools.paths import REPO

#: Who is away in each group, beside who writes.
_AWAY: Final = 1_021
_POLL_S: Final = 0.1
#: Behind the last call, for those that are late.
_LATE_S: Final = 30.0


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench push_burst",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--recipients", type=int, default=100_000, help="of the burst (default 100000), in full groups"
    )
    parser.add_argument("--rate", type=float, default=5, help="calls a second (default 5)")
    parser.add_argument("--alone", type=int, default=100, help="calls ahead of the burst (default 100)")
    parser.add_argument(
        "--most", type=int, default=1_500, help="calls during the burst, at most (default 1500)"
    )
    parser.add_argument(
        "--timeout", type=float, default=600, metavar="SECONDS", help="for the burst (default 600)"
    )
    common_options(parser)
    return parser


def main() -> int:
    return run_beside_provider("push_burst", options().parse_args(), measure)


def measure(bench: Bench, provider: Provider) -> Figures:
    args, system = bench.options, bench.system
    away = min(_AWAY, args.recipients)
    groups = round(args.recipients / away)
    result: Figures = {
        "bench": "push_burst",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "protections": protections(system),
        "load": {
            "recipients": groups * away,
            "groups": groups,
            "rate": args.rate,
            "body_bytes": args.body_bytes,
            "codec": args.codec,
            "cores": str(system.cores),
        },
    }
    print(f"push_burst, {result['date']}, commit {result['versions']['commit']}; {system.cores}", flush=True)
    result |= asyncio.run(_Run(bench, provider, groups, away).all())
    result["load_average"] = round(load_average(), 2)
    print(told(result), flush=True)
    result["checks"] = verdict(bench, "every call and every message reached the provider, each once")
    return result


class _Caller:
    """:mod:`bench.push_caller` as a process."""

    def __init__(self, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.push_caller"],
            cwd=REPO, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the caller of the bench has ended")
        return line

    def call(self, user: str, caller: str) -> float:
        """When it was signalled, seconds of ``time.perf_counter``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{user} {caller}\n")
        self._process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def token_of(device: str) -> str:
    """64 hexadecimal digits, as Apple's are."""
    return device.replace("-", "") * 2


class _Run:
    def __init__(self, bench: Bench, provider: Provider, groups: int, away: int) -> None:
        self._bench, self._provider, self._groups = bench, provider, groups
        self._away = away
        self._accepted: dict[str, list[float]] = {}

    async def all(self) -> Figures:
        args, system = self._bench.options, self._bench.system
        made = system.make_people(self._groups + args.alone + args.most, [], [])["people"]
        writing, called = made[: self._groups], made[self._groups :]
        system.reach(called, APP)
        crowds = [{"users": [one["user"]], "more": self._away, "lane": None, "app": APP} for one in writing]
        rooms = system.make_crowds(crowds)
        urls = [system.url(number, "across") for number in range(len(writing))]
        writers = await connected(CODECS[args.codec](), writing, urls, os.urandom(args.body_bytes))
        await asyncio.to_thread(system.settle)
        caller = await asyncio.to_thread(_Caller, system.stack.env)
        looking = asyncio.create_task(self._look())
        try:
            alone = await self._calls(caller, called[: args.alone], lambda: False)
            meters = system.meter(), system.push_meter()
            before, sending = (meter.read() for meter in meters)
            began = time.perf_counter()
            told = asyncio.create_task(
                write_at_once(writers, list(enumerate(rooms)), len(rooms), args.timeout)
            )
            wanted = self._groups * self._away
            others = {token_of(one["device"]) for one in called}

            def over() -> bool:
                return sum(1 for token in self._accepted if token not in others) >= wanted

            during = await self._calls(caller, called[args.alone :], over)
            await told
            ends_at = began + args.timeout
            while not over() and time.perf_counter() < ends_at:
                await asyncio.sleep(_POLL_S)
            used, used_sending = meters[0].read().since(before), meters[1].read().since(sending)
        finally:
            looking.cancel()
            caller.close()
        for writer in writers:
            self._bench.blame(dict(writer.problems))
            writer.close()
        ends = [at[0] for token, at in self._accepted.items() if token not in others]
        missing = wanted - len(ends)
        if missing:
            self._bench.blame({"not_accepted": missing})
        twice = sum(len(at) - 1 for token, at in self._accepted.items() if token not in others)
        if twice:
            self._bench.blame({"more_than_once": twice})
        worker = sum(used_sending.values())
        return {
            "alone": alone,
            "burst": {
                **during,
                "seconds": round(max(ends, default=began) - began, 1),
                "notifications_per_worker_cpu_second": round(len(ends) / worker) if worker else 0,
                "cpu_seconds": {name: round(seconds, 1) for name, seconds in used.items()},
            },
        }

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            for token, at in (await asyncio.to_thread(self._provider.accepted)).items():
                self._accepted.setdefault(token, []).extend(at)

    async def _calls(
        self, caller: _Caller, people: list[dict[str, str]], over: Callable[[], bool]
    ) -> Figures:
        """Call one after the other at the rate, until ``over()`` or nobody is left; then wait for those that are late."""
        began, at = time.perf_counter(), {}
        for number, person in enumerate(people):
            if (early := began + number / self._bench.options.rate - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            if over():
                break
            at[token_of(person["device"])] = await asyncio.to_thread(
                caller.call, person["user"], people[0]["user"]
            )
        ends = time.perf_counter() + _LATE_S
        while not at.keys() <= self._accepted.keys() and time.perf_counter() < ends:
            await asyncio.sleep(_POLL_S)
        waits = [self._accepted[token][0] - when for token, when in at.items() if token in self._accepted]
        if len(waits) < len(at):
            self._bench.blame({"calls_not_accepted": len(at) - len(waits)})
        return {
            "calls": len(at),
            "signalled_to_accepted_ms": percentiles(waits, 1_000.0, 1),
            "longest_ms": round(max(waits, default=0.0) * 1000, 1),
        }


def told(result: Figures) -> str:
    load, burst = result["load"], result["burst"]
    lines = [
        f"\n{load['recipients']:,} people who are away, told by {load['groups']} messages at once in {burst['seconds']} s;"
        f" {burst['notifications_per_worker_cpu_second']:,} notifications a CPU-second of the push worker"
    ]
    for name, text in (("alone", "nothing besides"), ("burst", "during the burst")):
        one = result[name]
        wait = one["signalled_to_accepted_ms"]
        lines.append(
            f"  {text:20}{one['calls']:5} calls, signalled to accepted p50 / p99 {wait.get('p50', 0):,.0f} /"
            f" {wait.get('p99', 0):,.0f} ms, the longest {one['longest_ms']:,.0f} ms"
        )
    lines.append(
        "  CPU-seconds in the burst: " + ", ".join(f"{k} {v:,.0f}" for k, v in burst["cpu_seconds"].items())
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
