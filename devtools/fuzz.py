"""``./dev fuzz``: the bytes of a stranger against the codecs and the WebSocket parser (atheris), and the REST API (schemathesis):
docs/fuzz.md."""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from devtools import bootstrap, record
from devtools.arguments import positive
from devtools.errors import DevError
from devtools.paths import REPO, VENV, VENV_PYTHON

#: Searched one after the other, each as long as the others; ``api`` needs a running system and is searched when it is named.
TARGETS = ("json", "protobuf", "websocket")
#: What earlier searches reached, for later ones to begin with, and inputs that broke something.
FOLDER = REPO / ".cache" / "fuzz"

#: For one input of at most ``MOST_BYTES`` (a frame may have 128 KiB): a thousand times what it takes.
PATIENCE_S = 10
MEMORY_MB = 1_024
MOST_BYTES = 140_000

_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
_PLACE = re.compile(r"Test unit written to (\S+)")
_EXAMPLES = 100
#: How long the API is searched with one seed.
_SEED_S = 600


class Search(NamedTuple):
    target: str
    runs: int
    seconds: float
    found: Path | None  # an input that broke a property
    said: str

    def line(self) -> str:
        result = f"BROKEN by {self.found}" if self.found else "nothing is broken"
        return f"{self.target:9} {self.runs:>10,} inputs {self.seconds:6.0f} s  {result}"


def available() -> bool:
    """Whether atheris is there: it has wheels for Linux on x86-64 alone."""
    return any((VENV / "lib").glob("python*/site-packages/atheris"))


def search(
    target: str,
    seconds: int,
    *,
    folder: Path = FOLDER,
    seed: int = 0,
    broken: str = "",
    most: int = MOST_BYTES,
) -> Search:
    """Search for so long, or until an input breaks a property. ``seed`` 0: another search each time; ``broken``: with a fault
    that is in no build but this (tests/fuzz/broken.py). Raises :class:`DevError` if it could not be run."""
    corpus, kept, begin = folder / target, folder / "found", folder / "seeds" / target
    for one in (corpus, kept, begin):
        one.mkdir(parents=True, exist_ok=True)
    _python(["-m", "tests.fuzz.seeds", target, str(begin)])
    fault = ["--broken", broken] if broken else []
    options = [
        f"-max_total_time={seconds}", f"-timeout={PATIENCE_S}", f"-rss_limit_mb={MEMORY_MB}", f"-max_len={most}",
        f"-seed={seed}", f"-artifact_prefix={kept}/{target}-", "-verbosity=1", "-print_final_stats=0",
    ]  # fmt: skip
    started = time.monotonic()
    run = _python(["-m", "tests.fuzz.fuzzer", target, *fault, str(corpus), str(begin), *options])
    said = run.stdout + run.stderr
    done, place = _DONE.search(said), _PLACE.search(said)
    if not done and not place:
        raise DevError(f"the fuzzer of {target} did not run:\n{said[-3_000:]}")
    counts = [int(number) for number in re.findall(r"^#(\d+)", said, re.MULTILINE)]
    runs = int(done[1]) if done else max(counts, default=0)
    return Search(target, runs, time.monotonic() - started, Path(place[1]) if place else None, said)


def replay(target: str, files: Sequence[Path]) -> Search:
    """Each of these inputs once, with the traceback of the first that breaks something."""
    run = _python(["-m", "tests.fuzz.fuzzer", target, *map(str, files), f"-timeout={PATIENCE_S}"])
    said = run.stdout + run.stderr
    return Search(target, len(files), 0.0, files[0] if run.returncode else None, said)


def _python(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{REPO}:{REPO / 'clients' / 'python'}", "PYTHONUNBUFFERED": "1"}
    # What libFuzzer says is bytes, of inputs among others.
    return subprocess.run(
        [VENV_PYTHON, *arguments],
        cwd=REPO,
        env=env,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def run(args: argparse.Namespace) -> int:
    """Search every target, or the one that is named; a line each. Non-zero if something was found."""
    bootstrap.ensure(development=True)
    if args.target == "api":
        return _api(args)
    if not available():
        raise DevError("atheris is not installed: it has wheels for Linux on x86-64 alone (docs/fuzz.md)")
    if args.replay:
        if not args.target:
            raise DevError("say of which target: ./dev fuzz TARGET --replay FILE", code=2)
        files = [Path(file).resolve() for file in args.replay]
        if missing := [str(file) for file in files if not file.is_file()]:
            raise DevError(f"there is no file {', '.join(missing)}", code=2)
        again = replay(args.target, files)
        print(again.said if again.found else f"{again.runs} inputs: nothing is broken")
        return 1 if again.found else 0
    targets = (args.target,) if args.target else TARGETS
    wrong = 0
    for target in targets:
        found = search(target, max(1, args.seconds // len(targets)))
        print(found.line(), flush=True)
        if found.found:
            wrong += 1
            print(
                _end_of(found.said),
                f"again: ./dev fuzz {target} --replay {found.found}",
                sep="\n",
                flush=True,
            )
    return 1 if wrong else 0


def _end_of(said: str) -> str:
    """The traceback, without what was printed while it searched."""
    lines = [line for line in said.splitlines() if not line.startswith(("#", "INFO:"))]
    return "\n".join(lines[-40:])


def _api(args: argparse.Namespace) -> int:
    """schemathesis against the system that runs, with new seeds until the time is over."""
    data = record.find(None)
    url = record.state(data).get("http")
    if not url:
        raise DevError(
            "it asks a running system: ./dev up --detach (in another data folder than one you need)"
        )
    deadline = time.monotonic() + args.seconds
    while (left := deadline - time.monotonic()) > 0:
        seed = random.randrange(2**31)
        done = subprocess.run(
            [
                VENV_PYTHON, "-m", "tests.api.check", "--url", url, "--sms", str(data.root / "sms.jsonl"),
                "--seed", str(seed), "--examples", str(_EXAMPLES), "--seconds", str(max(1, min(int(left), _SEED_S))),
            ],
            cwd=REPO, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"again: .venv/bin/python -m tests.api.check --url {url} --seed {seed}", file=sys.stderr)
            return done.returncode
    return 0


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "target", nargs="?", choices=(*TARGETS, "api"), help="default: all but api, which needs ./dev up"
    )
    sub.add_argument("--seconds", type=positive, default=90, metavar="N", help="in all (default 90)")
    sub.add_argument("--replay", nargs="+", metavar="FILE", help="run these inputs instead")
