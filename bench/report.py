"""Figures as text, for people. Every number printed here is in the JSON too."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]

#: Per total CPU-second, measured at another time on a machine of two noisy cores, each with a load of its own.
OTHER_MEASUREMENTS = {
    "prototype_800_in_flight": (
        6_100,
        "throw-away prototype, full life, 800 in flight, without accounts and outbox",
    ),
    "prototype_200_in_flight": (5_200, "the same, 200 in flight"),
    "prototype_100_in_flight": (3_700, "the same, 100 in flight"),
    "prototype_500_per_second_best": (2_100, "the same at 500 messages/s, best run"),
    "tinode": (640, "Tinode 0.25 on PostgreSQL, full life, 400 in flight"),
    "ejabberd_archive": (2_400, "ejabberd 23.01 with archive on PostgreSQL, no receipts"),
    "ejabberd_memory": (28_000, "ejabberd 23.01, memory only"),
    "naive_channels": (3_900, "Channels with channels_redis, nothing stored"),
    "synapse": (28, "Synapse 1.163 on PostgreSQL"),
}


def head(result: Figures) -> str:
    load, machine, guards, versions = (
        result[name] for name in ("load", "machine", "protections", "versions")
    )
    where = (
        "the two on different gateways"
        if load["placement"] == "across"
        else "each on a gateway of the kernel's choice"
    )
    lines = (
        f"one_to_one, {result['date']}, commit {versions['commit']}",
        f"  {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, kernel {machine['kernel']}, "
        f"data on {machine['disk']}",
        f"  {load['cores']}",
        "  " + ", ".join(f"{name} {text}" for name, text in versions.items() if name != "commit"),
        f"  2 gateways, worker, beat; fsync {guards['fsync']}, synchronous_commit {guards['synchronous_commit']}, "
        f"Valkey AOF {guards['valkey_aof']}",
        f"  authentication, outbox, seqNum on every send, limits on ({guards['messages_per_minute']:,} messages/min, "
        f"{guards['frames_per_second']:,} frames/s)",
        f"  {load['users']} users with one device each in {load['pairs']} pairs, {where}; {load['codec']}; "
        f"body {load['body_bytes']} B; {load['clients']} generator process(es), which coalesce no receipts",
    )
    return "\n".join(lines)


def keeps_up(run: Figures) -> bool:
    """Whether what ended in a window is what began in it; if not, an open rate is more than the system can do."""
    return bool(run["lives_per_second"] >= 0.9 * run["begun_per_second"])


def all_delivered(members: int, run: Figures) -> bool:
    """The same of a room: whether what is delivered in a window is what its messages have to become."""
    wanted = run["messages_per_second"] * (members - 1)
    return bool(wanted and run["deliveries_per_second"] >= 0.9 * wanted)


def lives(title: str, phase: Figures) -> str:
    m, s = phase["median"], phase["spread"]
    cpu, s_cpu = m["cpu_us_per_life"], s["cpu_us_per_life"]
    runs = len(phase["runs"])
    spread = "; median (lowest to highest)" if runs > 1 else ""
    lines = [
        "",
        f"{title} ({runs} run(s) of {m['seconds']:.0f} s{spread})",
        _line("full lives / s", m["lives_per_second"], s["lives_per_second"])
        + (
            ""
            if keeps_up(m)
            else f"   does not keep up with {m['begun_per_second']:,.0f}: its latencies only grow"
        ),
        _line("full lives / server CPU-second", m["lives_per_cpu_second"], s["lives_per_cpu_second"]),
        _line("server CPU us / life", cpu["total"], s_cpu["total"])
        + "   "
        + ", ".join(f"{name} {value:.0f}" for name, value in cpu.items() if name != "total"),
    ]
    for step in ("sent", "received", "delivered", "read"):
        p, sp = m["latency_ms"][step], s["latency_ms"][step]
        if p:
            lines.append(
                _line(f"{step} p50 / p99 ms", p["p50"], sp["p50"])
                + f" / {p['p99']:.1f}{_range(p['p99'], sp['p99'])}"
            )
    disk = m["disk_fdatasync_ms"]
    batches = ", ".join(f"{kind} {size:.1f}" for kind, size in m["rows_per_batch"].items())
    lines += [
        f"  {'fdatasync of 8 KiB p50 / p99 ms':34} {disk['p50']:>10.2f} / {disk['p99']:.2f}   the disk alone, just before",
        f"  {'receipt frames to a sender / life':34} {m['receipt_frames_per_life']:>10.2f}   2 if none covered several messages",
        *([f"  {'rows per batch':34} {batches}"] if batches else []),
        f"  {'cores busy':34} servers {m['busy_cores']['servers']:.2f}, generator {m['busy_cores']['client']:.2f} "
        f"({m['client_us_per_life']:.0f} us a life); load average {m['load_average']:.1f}",
    ]
    return "\n".join(lines)


def connects(phase: Figures) -> str:
    m, s = phase["median"], phase["spread"]
    cpu = m["cpu_us_per_connect"]
    return "\n".join(
        (
            "",
            f"connecting {m['connections']:,} devices, authenticated, until ready ({len(phase['runs'])} run(s))",
            _line("connects / server CPU-second", m["connects_per_cpu_second"], s["connects_per_cpu_second"]),
            _line("again, the same devices", m["reconnects_per_cpu_second"], s["reconnects_per_cpu_second"])
            + "   / server CPU-second",
            _line("server CPU us / connect", cpu["total"], s["cpu_us_per_connect"]["total"])
            + "   "
            + ", ".join(f"{name} {value:.0f}" for name, value in cpu.items() if name != "total"),
            _line("connects / s", m["connects_per_second"], s["connects_per_second"]),
            f"  {'ready p50 / p99 ms':34} {m['ready_ms']['p50']:>10.1f} / {m['ready_ms']['p99']:.1f}",
        )
    )


def idle(phase: Figures) -> str:
    m, s = phase["median"], phase["spread"]
    rss = m["gateways_resident_kb"]
    return "\n".join(
        (
            "",
            f"{m['connections']:,} idle connections, authenticated and synced ({len(phase['runs'])} run(s), fresh gateways each)",
            _line("KB / idle connection", m["kb_per_idle_connection"], s["kb_per_idle_connection"])
            + f"   gateways together {rss['before']:,.0f} -> {rss['with_connections']:,.0f} KB resident",
            f"  {'cores busy meanwhile':34} {m['idle_busy_cores']:>10.3f}",
        )
    )


def offline(phase: Figures) -> str:
    m, s = phase["median"], phase["spread"]
    cpu = m["cpu_us_per_event"]
    tasks = ", ".join(f"{kind} {number:.0f}" for kind, number in m["drain_tasks"].items()) or "none"
    return "\n".join(
        (
            "",
            f"backlog of {m['events']:,} events in {m['conversations']:.0f} conversations, {m['batches']:.0f} batches, each "
            f"after the ack of the last ({len(phase['runs'])} run(s); ms from sync)",
            _line("first batch ms", m["first_batch_ms"], s["first_batch_ms"]),
            _line("last ack ms", m["last_ack_ms"], s["last_ack_ms"]),
            _line("sync_complete ms", m["complete_ms"], s["complete_ms"]),
            _line("events / s", m["events_per_second"], s["events_per_second"]),
            _line("server CPU us / event", cpu["total"], s["cpu_us_per_event"]["total"])
            + "   "
            + ", ".join(f"{name} {value:.0f}" for name, value in cpu.items() if name != "total"),
            f"  {'parts by the drain task':34} {tasks}",
        )
    )


def others(measured: float) -> Figures:
    """Lives per CPU-second of other systems, and how this one's compare."""
    return {
        name: {"per_cpu_second": number, "ratio": round(measured / number, 2), "what": what}
        for name, (number, what) in OTHER_MEASUREMENTS.items()
    }


def comparison(others: Figures) -> str:
    lines = [
        "",
        "Other measurements, for orientation only: another day, other loads, a noisy machine of two cores",
    ]
    lines += [
        f"  {row['per_cpu_second']:>7,} per CPU-second   this run is {row['ratio']:>6.2f} x   {row['what']}"
        for row in others.values()
    ]
    return "\n".join(lines)


def checks(result: Figures) -> str:
    found = result["checks"]
    counted = f"{found['messages']:,} messages, {found['stored']:,} rows stored"
    if not found["problems"]:
        return f"\nchecks: {counted}, each delivered once, in order, without a hole"
    lines = [f"\nCHECKS FAILED: {counted}"]
    lines += [f"  {kind}: {number}" for kind, number in found["problems"].items()]
    lines += [f"    {text}" for text in found["examples"]]
    return "\n".join(lines)


def _line(name: str, value: float, spread: list[float]) -> str:
    return f"  {name:34} {_number(value):>10}{_range(value, spread)}"


def _range(value: float, spread: list[float]) -> str:
    low, high = spread
    return "" if low == high else f" ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"


def room(title: str, phase: Figures) -> str:
    """Of a room on any system."""
    m, s = phase["median"], phase["spread"]
    cpu, last, each = m["cpu_us_per_delivery"], m["latency_ms"]["last"], m["latency_ms"]["each"]
    low, high = s["deliveries_per_cpu_second"]
    spread = f" ({low:,.0f} to {high:,.0f})" if low != high else ""
    return "\n".join(
        (
            f"\n{title} ({len(phase['runs'])} run(s))",
            f"  deliveries / server CPU-second {m['deliveries_per_cpu_second']:>10,.0f}{spread}   "
            f"{m['deliveries_per_second']:,.0f} a second",
            f"  server CPU us / delivery       {cpu['total']:>10.2f}   "
            + ", ".join(f"{name} {us:.2f}" for name, us in cpu.items() if name != "total"),
            f"  to one member p50 / p99 ms     {each.get('p50', 0):>10.1f} / {each.get('p99', 0):.1f}",
            f"  to the last member p50 / p99   {last.get('p50', 0):>10.1f} / {last.get('p99', 0):.1f}",
            f"  cores busy                     servers {m['busy_cores']['servers']:.2f}, "
            f"generator {m['busy_cores']['client']:.2f}",
        )
    )
