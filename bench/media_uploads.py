"""Uploads to a running system: one of gigabytes, photos until they are ready, many at once. Seconds, MB of 2**20 bytes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from bench import memory
from bench.figures import Figures, combine, percentiles
from bench.media_samples import noise, photos
from bench.phases import Bench
from bench.uploads import Uploader

MIB: Final = 2**20
#: The design's aims for a photo of 1 MB from its first byte to ``ready``, seconds.
AIM_P50_S, AIM_P99_S = 2.0, 5.0
#: A process of ours that holds so much more while gigabytes go through it holds them.
GROWTH_MB: Final = 64.0
Item = TypeVar("Item")
Answer = TypeVar("Answer")
_OURS: Final = ("gateway", "api", "worker", "fanout", "beat")


def people(bench: Bench, count: int) -> list[Uploader]:
    """So many, each with a conversation of its own."""
    made = bench.system.make_people(count + 1, [(number, count) for number in range(count)])
    return [
        Uploader(bench.system.stack.port, person["token"], conversation)
        for person, conversation in zip(made["people"], made["conversations"], strict=False)
    ]


def warm(person: Uploader) -> None:
    """Whatever is loaded with the first of its kind is loaded now, in each process that the kernel chooses."""
    for number, file in enumerate(photos(4, (640, 480), 60_000, seed=1)):
        person.ready(person.form(file, "image", "image/jpeg"))
        person.ready(person.tus(8 * MIB, noise(8 * MIB, 1_000 + number)))


# -- one of gigabytes -------------------------------------------------------------------------------------------------------


def large(bench: Bench, person: Uploader, mib: int) -> Figures:
    """Up by tus in one request, sealed as an end-to-end encrypted document is, until it is ready; what each process holds
    meanwhile."""
    size, digest = mib * MIB, hashlib.sha256()
    before = bench.system.meter().read()
    began = time.perf_counter()
    with memory.Watch(bench.system.pids) as watch:
        media_id = person.tus(size, _hashed(noise(size, 1), digest))
        sent = time.perf_counter()
        known = person.ready(media_id)
        ready = time.perf_counter()
    used = bench.system.meter().read().since(before)
    if (known["size"], known["sha256"]) != (size, digest.hexdigest()):
        bench.blame(
            {"altered": 1},
            [f"{known['size']} bytes of {known['sha256']} instead of {size} of {digest.hexdigest()}"],
        )
    held = memory.figures(watch.samples)
    for name, one in held.items():
        if name.startswith(_OURS) and one["growth_mb"] > GROWTH_MB:
            bench.blame({"grew": 1}, [f"{name} by {one['growth_mb']} MB"])
    return {
        "mib": mib,
        "upload_seconds": round(sent - began, 2),
        "mb_per_second": round(mib / (sent - began), 1),
        "ready_seconds": round(ready - sent, 2),
        "cpu_seconds_per_gb": _per_gb(used, size),
        "memory": held,
    }


def _hashed(pieces: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for piece in pieces:
        digest.update(piece)
        yield piece


def large_told(r: Figures) -> str:
    return "\n".join((
        f"\none upload of {r['mib']:,} MB: {r['upload_seconds']:.1f} s, {r['mb_per_second']:.0f} MB/s; "
        f"ready {r['ready_seconds']:.1f} s later",
        "  server CPU-seconds a GB   " + _listed(r["cpu_seconds_per_gb"]),
        memory.told(r["memory"]),
    ))  # fmt: skip


# -- photos until they are ready --------------------------------------------------------------------------------------------


def rendered(bench: Bench, people: Sequence[Uploader]) -> Figures:
    """``one_by_one``, ``at_once``: ``combine`` of seconds from the first byte to ``ready``, as percentiles."""
    args = bench.options
    found: dict[str, list[Figures]] = {"one_by_one": [], "at_once": []}
    for run in range(args.runs):
        for number, (name, several) in enumerate((("one_by_one", 1), ("at_once", args.at_once))):
            files = photos(args.photos, seed=10 + 2 * run + number)
            bench.system.settle()
            before = bench.system.meter().read()
            began = _all(people, files, several, lambda person, file: _photo(person, file))
            used = bench.system.meter().read().since(before)
            found[name].append({
                "seconds": percentiles(_until_ready(bench, began), 1.0, 3),
                "kilobytes": round(sum(map(len, files)) / len(files) / 1e3),
                "cpu_seconds_each": {kind: round(seconds / len(files), 3) for kind, seconds in used.items()},
            })  # fmt: skip
    return {name: combine(runs) for name, runs in found.items()}


def _photo(person: Uploader, file: bytes) -> tuple[str, float]:
    """Its id, and when its first byte was sent, seconds since the epoch."""
    began = time.time()
    media_id = person.form(file, "image", "image/jpeg")
    person.ready(media_id)
    return media_id, began


def _until_ready(bench: Bench, began: Sequence[tuple[str, float]]) -> list[float]:
    """By the server's own note of when each was ready: asking again and again is not exact."""
    ids = ",".join(f"'{media_id}'" for media_id, _ in began)
    rows = bench.system.sql(f"SELECT id, ready_at FROM media_media WHERE id IN ({ids})")
    ready = dict(row.replace("|", " ").split() for row in rows.splitlines())
    return [int(ready[media_id]) / 1_000 - at for media_id, at in began]


def rendered_told(r: Figures) -> str:
    lines = [
        f"\nphotos of {r['one_by_one']['median']['kilobytes']} KB, first byte to ready, s (aims {AIM_P50_S:g}, {AIM_P99_S:g})"
    ]
    for name, found in r.items():
        median, spread = found["median"]["seconds"], found["spread"]["seconds"]
        lines.append(
            f"  {name.replace('_', ' '):11} p50 {median['p50']:6.2f} ({_range(spread['p50'])})   "
            f"p99 {median['p99']:6.2f} ({_range(spread['p99'])})   "
            f"CPU-seconds each: {_listed(found['median']['cpu_seconds_each'])}"
        )
    return "\n".join(lines)


# -- many at once -----------------------------------------------------------------------------------------------------------


def many(bench: Bench, people: Sequence[Uploader]) -> Figures:
    """``combine`` of what so many clients bring at once; the work behind the uploads counts as CPU, not as time."""
    args = bench.options
    size, runs = args.upload_mib * MIB, []
    for run in range(args.runs):
        bench.system.settle()
        before = bench.system.meter().read()
        began = time.perf_counter()
        seeds = [1_000_000 * (run + 1) + number for number in range(len(people) * args.each)]
        sent = _all(people, seeds, len(people), lambda person, seed: _sealed(person, size, seed))
        seconds = time.perf_counter() - began
        for person, (media_id, _) in zip(_in_turn(people, len(sent)), sent, strict=True):
            person.ready(media_id)
        used = bench.system.meter().read().since(before)
        total = size * len(sent)
        runs.append({
            "mb_per_second": round(total / MIB / seconds, 1),
            "completion_seconds": percentiles([took for _, took in sent], 1.0, 3),
            "cpu_seconds_per_gb": _per_gb(used, total),
        })  # fmt: skip
    return combine(runs)


def _sealed(person: Uploader, size: int, seed: int) -> tuple[str, float]:
    began = time.perf_counter()
    return person.tus(size, noise(size, seed)), time.perf_counter() - began


def many_told(r: Figures) -> str:
    median, spread = r["median"], r["spread"]
    took = median["completion_seconds"]
    return "\n".join((
        f"\nmany at once: {median['mb_per_second']:.0f} MB/s ({_range(spread['mb_per_second'])}); "
        f"an upload takes p50 {took['p50']:.2f}, p99 {took['p99']:.2f} s",
        "  server CPU-seconds a GB   " + _listed(median["cpu_seconds_per_gb"]),
    ))  # fmt: skip


# -- the rest ---------------------------------------------------------------------------------------------------------------


def _all(
    people: Sequence[Uploader], items: Sequence[Item], several: int, do: Callable[[Uploader, Item], Answer]
) -> list[Answer]:
    """Each item by the next of the people, so many at a time; the answers in their order."""
    with ThreadPoolExecutor(several) as pool:
        return list(pool.map(do, _in_turn(people, len(items)), items))


def _in_turn(people: Sequence[Uploader], count: int) -> list[Uploader]:
    return [people[number % len(people)] for number in range(count)]


def _per_gb(used: dict[str, float], size: int) -> dict[str, float]:
    """Of 2**30 bytes, by kind of process, and ``total``."""
    each = {kind: round(seconds * 2**30 / size, 2) for kind, seconds in used.items()}
    return {**each, "total": round(sum(each.values()), 2)}


def _listed(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in figures.items())


def _range(spread: list[float]) -> str:
    return f"{spread[0]:.2f} to {spread[1]:.2f}"
