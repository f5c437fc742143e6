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
    lines = [f"\nours to {name} in the same runs: ratio of the i-th run of each, median (lowest to highest)"]
    for figures in found.values():
        better = "better" if (figures["ratio"] >= 1) == figures["more_is_better"] else "worse"
        kept = "" if figures["both_keep_up"] else "; one does not keep up with the rate"
        low, high = figures["spread"]
        spread = f" ({low:.2f} to {high:.2f})" if low != high else ""
        lines.append(
            f"  {figures['text']:38} {figures['ratio']:>7.2f}{spread:18}  "
            f"{_number(figures['ours'])} to {_number(figures['theirs'])}, ours is {better}{kept}"
        )
    return "\n".join(lines)


def checks(name: str, found: Figures) -> str:
    stored = "" if found["stored"] is None else f", {found['stored']:,} stored"
    if not found["problems"]:
        return f"checks of {name}: {found['messages']:,} messages{stored}, each received once, unaltered, in order"
    return f"CHECKS OF {name} FAILED: {found['messages']:,} messages{stored}; {found['problems']} {found['examples'][:5]}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
