"""``./dev faults``: every fault of the trials with several seeds, three nodes of Cassandra under load, other long tests."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

from devtools import bootstrap, cassandra
from devtools.paths import REPO, VENV_PYTHON


def run(args: argparse.Namespace) -> int:
    """The tests marked ``long`` or ``needs_cluster``, one after the other in one process; non-zero when a promise is broken."""
    bootstrap.ensure(development=True)
    cassandra.ensure(bootstrap.say)
    env = {
        **os.environ, "WHATSAPP_SEED": str(args.seed), "WHATSAPP_SEEDS": str(args.seeds), "WHATSAPP_TEST_STORE": "postgres",
    }  # fmt: skip
    if args.json:
        file = Path(args.json).resolve()
        file.unlink(missing_ok=True)
        env["WHATSAPP_FAULTS_JSON"] = str(file)
    chosen = ["-k", args.only] if args.only else []
    return subprocess.run(
        [VENV_PYTHON, "-m", "pytest", "-s", "-v", "-n", "0", "-m", "long or needs_cluster", "tests", *chosen],
        cwd=REPO, env=env, check=False,
    ).returncode  # fmt: skip
