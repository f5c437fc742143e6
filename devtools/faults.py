"""``./dev faults``: every fault of the trials with several seeds, three nodes of Cassandra under load, other long tests."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from devtools import bootstrap, cassandra
from devtools.errors import DevError
from devtools.paths import REPO, VENV_PYTHON
from devtools.trials_table import table

#: pytest's exit code when nothing was chosen.
_NOTHING = 5


def names() -> list[str]:
    """The faults of the catalogue, in its order."""
    paths = os.pathsep.join([str(REPO), str(REPO / "clients" / "python")])
    run = subprocess.run(
        [VENV_PYTHON, "-c", "from tests.faults.trials.catalogue import FAULTS; print(*FAULTS)"],
        cwd=REPO, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        raise DevError(f"the catalogue of faults cannot be read:\n{run.stderr}")
    return run.stdout.split()


def run(args: argparse.Namespace) -> int:
    """The tests marked ``long`` or ``needs_cluster``, ``--jobs`` at a time, each of these with servers of its own; non-zero when
    a promise is broken. The last thing printed is the table of the trials. ``--only FAULT`` is that fault alone, not
    ``FAULT-then-silence`` as well; anything else is for pytest's ``-k``."""
    bootstrap.ensure(development=True)
    one = args.only in names() if args.only else False
    if not one or "cassandra" in args.only:
        cassandra.ensure(bootstrap.say)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(args.json).resolve() if args.json else Path(folder) / "faults.json"
        file.unlink(missing_ok=True)
        env = {
            **os.environ, "WHATSAPP_SEED": str(args.seed), "WHATSAPP_SEEDS": str(args.seeds), "WHATSAPP_TEST_STORE": "postgres",
            "WHATSAPP_FAULTS_JSON": str(file),
        }  # fmt: skip
        chosen = ["tests/faults/test_trials.py", "-k", f"[{args.only}]"] if one else ["tests"]
        if args.only and not one:
            chosen += ["-k", args.only]
        jobs = ["-n", str(args.jobs)] if args.jobs > 1 else ["-n", "0"]
        status = subprocess.run(
            [VENV_PYTHON, "-m", "pytest", "-s", "-v", *jobs, "-m", "long or needs_cluster", *chosen],
            cwd=REPO, env=env, check=False,
        ).returncode  # fmt: skip
        if status == _NOTHING and args.only:
            raise DevError(
                f"no long test has {args.only} in its name; the faults are {', '.join(names())}", code=2
            )
        if file.exists() and (trials := json.loads(file.read_text()).get("trials")):
            print("\n" + table(trials))
    return status
