"""``./dev model``: the engine's protocol (``delivery/model/*.pml``) under the model checker SPIN: docs/model.md.

A model names its variants in its first comment, a line each: *sound* ones are searched to the end and must break nothing;
*broken* ones, each without one rule, must break an assertion, or the rule would not be needed, or the model would not see it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from devtools import packages
from devtools.errors import DevError
from devtools.paths import REPO

FOLDER = REPO / "delivery" / "model"
NEEDED = tuple(package for package in packages.NEEDED if package.name in ("spin", "gcc", "libc6-dev"))

#: Longest search, seconds. The longest takes a fifth of it on a quiet core.
PATIENCE_S = 240
#: Steps of a path, and MiB of memory: who reaches either has not searched to the end, and says so.
_DEPTH, _MEMORY_MB = 2_000_000, 3_000

_VARIANT = re.compile(r"^ \*   (sound|broken) +(\w+)((?: +-D\w+(?:=\w+)?)*)(?:  +(.*))?$", re.MULTILINE)
_STATES = re.compile(r"^ *(\d+) states, stored", re.MULTILINE)
_VIOLATED = re.compile(r"^pan:\d+: (.*) \(at depth \d+\)", re.MULTILINE)
_ERRORS = re.compile(r"errors: (\d+)")


class Variant(NamedTuple):
    model: str
    sound: bool
    name: str
    switches: tuple[str, ...]
    about: str


class Outcome(NamedTuple):
    states: int
    seconds: float  # of the search
    complete: bool  # searched to the end
    violated: str  # what was broken, "" nothing
    said: str  # by the checker; with a trail, the steps


def models() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.pml"))


def variants(model: str) -> list[Variant]:
    """As its file names them."""
    return list(_variants(model, (FOLDER / f"{model}.pml").read_text()))


def _variants(model: str, text: str) -> Iterator[Variant]:
    for kind, name, switches, about in _VARIANT.findall(text.partition("*/")[0]):
        named = tuple(switches.split())
        broken = kind == "broken"
        yield Variant(model, not broken, name, (*named, f"-D{name}") if broken else named, about.strip())


def check(model: str, switches: Sequence[str], *, quick: bool = False, trail: bool = False) -> Outcome:
    """Search a model. ``quick``: compiled for a search that ends soon. ``trail``: what it says of a violation is the way there,
    step by step. Raises :class:`DevError` if it cannot be compiled, or takes too long."""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        file = f"{model}.pml"
        Path(folder, file).write_text((FOLDER / file).read_text())
        _run(folder, ["spin", "-a", *switches, file])
        # Collapsed states are exact, unlike hashed ones.
        # A compiler that tries hard takes longer than most of these searches.
        flags = ["-O0" if quick else "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={_MEMORY_MB}"]
        _run(folder, ["gcc", *flags, "-DVECTORSZ=2048", "-o", "pan", "pan.c"])
        started = time.monotonic()
        said = _run(folder, ["./pan", f"-m{_DEPTH}", "-n", "-w22"])
        seconds = time.monotonic() - started
        violated, errors, states = _VIOLATED.search(said), _ERRORS.search(said), _STATES.search(said)
        steps = _run(folder, ["spin", "-t", "-p", "-g", "-l", *switches, file]) if violated and trail else ""
    cut_short = "Search not completed" in said or "too small" in said or "out of memory" in said
    return Outcome(
        int(states[1]) if states else 0,
        seconds,
        errors is not None and not cut_short,
        violated[1] if violated else "" if errors and errors[1] == "0" else "no word of it",
        steps or said,
    )


def _run(folder: str, command: list[str]) -> str:
    try:
        run = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise DevError(f"{command[0]} took more than {PATIENCE_S} s") from None
    if run.returncode and command[0] in ("spin", "gcc") and "-t" not in command:
        raise DevError(f"{command[0]}: {(run.stdout + run.stderr).strip()}")
    return run.stdout + run.stderr


def run(args: argparse.Namespace) -> int:
    """Search every variant, or those of a model, or one; a line each. Non-zero if one is not as it must be."""
    packages.ensure(NEEDED, "model")
    if args.model and args.model not in models():
        raise DevError(f"there is no model {args.model}: {', '.join(models())}", code=2)
    chosen = [one for model in ([args.model] if args.model else models()) for one in variants(model)]
    if args.variant:
        chosen = [one for one in chosen if one.name == args.variant]
        if not chosen:
            names = ", ".join(one.name for one in variants(args.model))
            raise DevError(f"{args.model} has no variant {args.variant}: {names}", code=2)
    wrong = 0
    for one in chosen:
        found = check(one.model, one.switches, quick=not one.sound, trail=args.trail)
        if args.trail:
            print(found.said)
        as_it_must_be = (found.complete and not found.violated) if one.sound else is_broken(found)
        wrong += not as_it_must_be
        result = found.violated or ("nothing is broken" if found.complete else "not searched to the end")
        mark = "ok    " if as_it_must_be else "WRONG "
        print(
            f"{mark} {one.model:9} {one.name:16} {found.states:>10,} states {found.seconds:6.1f} s  {result}",
            flush=True,
        )
    return 1 if wrong else 0


def is_broken(found: Outcome) -> bool:
    """Whether an assertion was broken; a model that merely gets stuck shows nothing."""
    return found.violated.startswith("assertion violated")


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", nargs="?", help="such as claims (default: all)")
    sub.add_argument("variant", nargs="?", help="one of those that its first comment names")
    sub.add_argument("--trail", action="store_true", help="print the steps that lead to what is broken")
