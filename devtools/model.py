"""``./dev model``: the engine's protocol (``delivery/model/*.pml``) under the model checker SPIN: docs/model.md.

A model names its variants in its first comment, a line each: *sound* ones are searched to the end and must break nothing;
*broken* ones, each without one rule, must break an assertion, or the rule would not be needed, or the model would not see it.
"""

from __future__ import annotations

import argparse
import hashlib
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
#: Sound variants whose search takes a while, with what they said when they were searched: ``./dev model`` writes it.
SEARCHED = FOLDER / "searched.tsv"
NEEDED = tuple(package for package in packages.NEEDED if package.name in ("spin", "tcc", "gcc", "libc6-dev"))

#: Longest search, seconds. The longest takes a fifth of it on a quiet core.
PATIENCE_S = 240
#: Steps of a path, and MiB of memory: who reaches either has not searched to the end, and says so.
_DEPTH, _MEMORY_MB = 2_000_000, 3_000
#: A compiler that tries hard takes longer than most searches: what is not searched so soon is compiled anew by it, seconds.
_SOON_S = 1.5

# Each state is kept whole: exact, unlike hashed ones, and quicker than collapsed ones.
_FLAGS = ("-w", "-DSAFETY", f"-DMEMLIM={_MEMORY_MB}", "-DVECTORSZ=2048")
_SEARCH = ["./pan", f"-m{_DEPTH}", "-n", "-w24"]

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


def fingerprint(variant: Variant) -> str:
    """Of all that the outcome of its search follows from."""
    text = (FOLDER / f"{variant.model}.pml").read_text()
    return hashlib.sha256("\0".join((text, *variant.switches, *_FLAGS, *_SEARCH)).encode()).hexdigest()


def searched(variant: Variant) -> int | None:
    """How many states it had when it was searched to the end and nothing was broken; None if it has not been, as it is today."""
    for line in SEARCHED.read_text().splitlines():
        model, name, print_, states = line.split("\t")
        if (model, name, print_) == (variant.model, variant.name, fingerprint(variant)):
            return int(states)
    return None


def _remember(found: dict[Variant, Outcome]) -> None:
    """Of these variants the file says what was found now, of others what it said."""
    known = {(one.model, one.name) for one in found}
    lines = [line for line in SEARCHED.read_text().splitlines() if tuple(line.split("\t")[:2]) not in known]
    for one, outcome in found.items():
        if one.sound and outcome.complete and not outcome.violated and outcome.seconds > _SOON_S:
            lines.append(f"{one.model}\t{one.name}\t{fingerprint(one)}\t{outcome.states}")
    SEARCHED.write_text("".join(f"{line}\n" for line in sorted(lines)))


def check(model: str, switches: Sequence[str], *, trail: bool = False) -> Outcome:
    """Search a model. ``trail``: what it says of a violation is the way there, step by step. Raises :class:`DevError` if it
    cannot be compiled, or takes too long."""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        file = f"{model}.pml"
        Path(folder, file).write_text((FOLDER / file).read_text())
        _run(folder, ["spin", "-a", *switches, file])
        _run(folder, ["tcc", *_FLAGS, "-o", "pan", "pan.c"])
        started = time.monotonic()
        said = _run(folder, [*_SEARCH[:-1], "-w20"], patience_s=_SOON_S)  # a large table takes time to clear
        if said is None:
            _run(folder, ["gcc", "-O2", *_FLAGS, "-o", "pan", "pan.c"])
            started = time.monotonic()
            said = _run(folder, _SEARCH)
        if said is None:
            raise DevError(f"the search took more than {PATIENCE_S} s")
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


def _run(folder: str, command: list[str], *, patience_s: float = PATIENCE_S) -> str | None:
    """What it said; None of a search that had not ended by then."""
    try:
        run = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=patience_s, check=False
        )
    except subprocess.TimeoutExpired:
        if command[0] != "./pan":
            raise DevError(f"{command[0]} took more than {patience_s} s") from None
        return None
    if run.returncode and command[0] in ("spin", "tcc", "gcc") and "-t" not in command:
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
    outcomes = {}
    for one in chosen:
        outcomes[one] = found = check(one.model, one.switches, trail=args.trail)
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
    _remember(outcomes)
    return 1 if wrong else 0


def is_broken(found: Outcome) -> bool:
    """Whether an assertion was broken; a model that merely gets stuck shows nothing."""
    return found.violated.startswith("assertion violated")


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", nargs="?", help="such as claims (default: all)")
    sub.add_argument("variant", nargs="?", help="one of those that its first comment names")
    sub.add_argument("--trail", action="store_true", help="print the steps that lead to what is broken")
