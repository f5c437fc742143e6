"""Peers' figures as text, for people."""

from __future__ import annotations

from bench import report
from bench.figures import Figures


def head(peers: dict[str, Figures]) -> str:
    return "\n".join(
        f"\npeer {name}: " + ", ".join(f"{part} {text}" for part, text in found["versions"].items()) + "\n"
        + "\n".join(f"  {line}" for line in found["setup"])
        for name, found in peers.items()
    )  # fmt: skip


def lives(name: str, phase: str, loads: dict[str, Figures]) -> str:
    """Of one phase: each load of one peer."""
    return "\n".join(
        report.lives(f"{name}, {phase}, {'whole lives' if load == 'life' else 'message only'}", figures)
        for load, figures in loads.items()
    )


def ratios(name: str, found: dict[str, Figures]) -> str:
    head = f"\nours to {name} in the same runs: ratio of the i-th run of each, median (lowest to highest)"
    return "\n".join([head, *map(_ratio, found.values())])


def slower(name: str, asked: Figures, rate: float, found: Figures) -> str:
    """A line for each rate of whole lives that was tried, the one that was asked for first."""
    lines = [f"\n{name}, whole lives at rates that it may keep up with"]
    for trial in [{"rate": rate, "keeps_up": False, **asked}, *found["trials"]]:
        delivered = trial["latency_ms"]["delivered"]
        lines.append(
            f"  {trial['rate']:>7g} messages/s: {trial['lives_per_second']:>7,.0f} lives/s, "
            f"{trial['busy_cores']['servers']:.2f} cores busy, "
            + (
                f"delivered p50 / p99 {delivered['p50']:,.0f} / {delivered['p99']:,.0f} ms; "
                if delivered
                else ""
            )
            + ("keeps up" if trial["keeps_up"] else "does not keep up")
        )
    return "\n".join(lines)


def room(name: str, title: str, found: Figures) -> str:
    """What a peer does not keep up with is a line each; then what it does."""
    lines = [
        f"\n{name} does not keep up with {trial['rate']:g} messages/s: {trial['deliveries_per_second']:,.0f} deliveries/s, "
        f"{trial['busy_cores']['servers']:.2f} cores busy, {trial['deliveries_per_cpu_second']:,.0f} a CPU-second"
        for trial in found["trials"]
        if not trial["keeps_up"]
    ]
    if "figures" in found:
        lines.append(report.room(f"{name}, {title}", found["figures"]))
    return "\n".join(lines)


def room_ratios(name: str, found: dict[str, dict[str, Figures]]) -> str:
    lines = [f"\nours to {name} in rooms: ratio of the i-th run of each, median (lowest to highest)"]
    for key, figures in found.items():
        rate = next(iter(figures.values()))["rate"]
        lines += [
            f"  room of {key.partition('_at_')[0]} at {rate:g} messages/s",
            *map(_ratio, figures.values()),
        ]
    return "\n".join(lines)


def checks(name: str, found: Figures) -> str:
    stored = "" if found["stored"] is None else f", {found['stored']:,} stored"
    if not found["problems"]:
        return f"checks of {name}: {found['messages']:,} messages{stored}, each received once, unaltered, in order"
    return f"CHECKS OF {name} FAILED: {found['messages']:,} messages{stored}; {found['problems']} {found['examples'][:5]}"


def _ratio(figures: Figures) -> str:
    better = "ours is better" if (figures["ratio"] >= 1) == figures["more_is_better"] else "ours is worse"
    verdict = better if figures["both_keep_up"] else "void: one does not keep up with the rate"
    low, high = figures["spread"]
    spread = f" ({low:.2f} to {high:.2f})" if low != high else ""
    return (
        f"  {figures['text']:38} {figures['ratio']:>7.2f}{spread:18}  "
        f"{_number(figures['ours'])} to {_number(figures['theirs'])}, {verdict}"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
