"""The properties hold for every example and for what earlier searches found; a search finds what is broken on purpose.

Searching is ``./dev fuzz``, in CI for a minute (``.ci/run``): docs/fuzz.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from devtools import fuzz
from devtools.paths import REPO, VENV_PYTHON
from tests.fuzz import frames, mutate, stream
from tests.fuzz.broken import BROKEN
from tests.fuzz.seeds import FOUND, found, seeds
from whatsapp.wire.codec import JSON, PROTOBUF

CHECKS: dict[str, Callable[[bytes], Iterator[str]]] = {
    "json": partial(frames.check, JSON),
    "protobuf": partial(frames.check, PROTOBUF),
    "websocket": stream.check,
}
FINDINGS = [(target, name) for target in fuzz.TARGETS for name in found(target)]


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_what_is_looked_for_holds_of_every_example(target: str) -> None:
    outcomes = {outcome for data in seeds(target) for outcome in CHECKS[target](data)}
    assert len(outcomes) >= 8  # they are of many kinds, or the check sees nothing


@pytest.mark.parametrize(("target", "name"), FINDINGS, ids=[f"{target}-{name}" for target, name in FINDINGS])
def test_what_was_found_stays_mended(target: str, name: str) -> None:
    assert list(CHECKS[target](found(target)[name]))


def test_every_finding_is_of_a_target() -> None:
    assert {folder.name for folder in FOUND.iterdir()} <= set(fuzz.TARGETS)


@pytest.mark.parametrize("target", ["json", "protobuf"])
def test_a_change_keeps_the_form_and_reaches_new_outcomes(target: str) -> None:
    """Without changes of their form, examples reach 40 to 60 outcomes."""
    change = mutate.as_json if target == "json" else mutate.as_protobuf
    known = {outcome for data in seeds(target) for outcome in CHECKS[target](data)}
    reached = {
        outcome
        for data in seeds(target)
        for seed in range(20)
        for outcome in CHECKS[target](change(data, 10_000, seed, lambda same, most: same[:most]))
    }
    assert len(reached - known) > 100


@pytest.mark.slow
@pytest.mark.skipif(not fuzz.available(), reason="atheris has wheels for Linux on x86-64 alone")
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.timeout(400)
def test_a_fault_is_found(name: str, tmp_path: Path) -> None:
    """Each is met within seconds, after some ten to some hundred thousand inputs, whatever the seed. The bound is for
    the rare long search on a busy machine."""
    target = BROKEN[name].target
    search = fuzz.search(target, 300, folder=tmp_path, seed=1, broken=name, most=2_000)
    assert search.found is not None, search.said[-2_000:]
    assert list(CHECKS[target](search.found.read_bytes()))  # a sound build bears it


@pytest.mark.slow
@pytest.mark.skipif(not fuzz.available(), reason="atheris has wheels for Linux on x86-64 alone")
def test_an_input_is_made_smaller(tmp_path: Path) -> None:
    """libFuzzer starts itself again for each step: with the target, and the fault. The first step is enough here."""
    large, said = tmp_path / "large", tmp_path / "said"
    large.write_bytes(bytes.fromhex("010001826162636409078981616263645e8083616263640d0e0c"))
    fault = ["websocket", "--broken", "pieces-matter"]
    options = ["-minimize_crash=1", "-runs=2000", f"-artifact_prefix={tmp_path}/"]
    command = [VENV_PYTHON, "-m", "tests.fuzz.fuzzer", *fault, str(large), *options]
    with said.open("wb") as out:
        run = subprocess.Popen(command, cwd=REPO, stdout=out, stderr=out, start_new_session=True)
    try:
        while run.poll() is None and not list(tmp_path.glob("minimized-from-*")):
            time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    smaller = list(tmp_path.glob("minimized-from-*"))
    assert smaller, said.read_text(errors="replace")[-2_000:]
    assert smaller[0].stat().st_size < large.stat().st_size
