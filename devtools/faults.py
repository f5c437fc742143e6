"""``./dev faults``: every fault of the trials with several seeds, three nodes of Cassandra under load, other long tests."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from devtools import bootstrap, cassandra
from devtools.paths import REPO, VENV_PYTHON
from devtools.trials_table import table


def run(args: argparse.Namespace) -> int:
    """The tests marked ``long`` or ``needs_cluster``, ``--jobs`` at a time, each of these with servers of its own; non-zero when
    a promise is broken. The last thing printed is the table of the trials."""
    bootstrap.ensure(development=True)
    cassandra.ensure(bootstrap.say)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(args.json).resolve() if args.json else Path(folder) / "faults.json"
        file.unlink(missing_ok=True)
        env = {
            **os.environ, "WHATSAPP_SEED": str(args.seed), "WHATSAPP_SEEDS": str(args.seeds), "WHATSAPP_TEST_STORE": "postgres",
            "WHATSAPP_FAULTS_JSON": str(file),
        }  # fmt: skip
        chosen = ["-k", args.only] if args.only else []
        jobs = ["-n", str(args.jobs)] if args.jobs > 1 else ["-n", "0"]
        status = subprocess.run(
            [VENV_PYTHON, "-m", "pytest", "-s", "-v", *jobs, "-m", "long or needs_cluster", "tests", *chosen],
            cwd=REPO, env=env, check=False,
        ).returncode  # fmt: skip
        if file.exists() and (trials := json.loads(file.read_text()).get("trials")):
            print("\n" + table(trials))
    return status
