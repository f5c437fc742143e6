"""schemathesis against a running development system: ``python -m tests.api.check --url http://127.0.0.1:8000``.

All its checks, good and bad data, single calls and sequences. The seed is printed; the same seed makes the same data.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def check(
    *,
    url: str,
    sms: Path,
    seed: int,
    examples: int,
    phases: str,
    seen: Path | None = None,
    seconds: int = 0,
    only: Sequence[str] = (),
    one_in: int = 1,
) -> subprocess.CompletedProcess[str]:
    """Run it; exit code 0: nothing was found. ``examples``: data for each operation. ``seconds``: it searches so long, cut short
    or again and again; 0: once, to the end. ``only``: these operations, by their names in the document; none given: all.
    ``one_in``: of the cases of the coverage phase, which are thousands whatever ``examples`` says, one in so many."""
    environment = {
        **os.environ,
        "WHATSAPP_API_URL": url,
        "WHATSAPP_API_SMS": str(sms),
        "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
        "PYTHONPATH": str(REPO),
        "PYTHONWARNINGS": "ignore",
        "WHATSAPP_API_SEEN": str(seen or ""),
        "WHATSAPP_API_ONE_IN": str(one_in),
    }
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(REPO / "tests" / "api" / "schemathesis.toml")),
        *("run", f"{url}/schema/openapi.json"),
        *("--seed", str(seed), "--max-examples", str(examples)),
        *("--phases", phases, "--continue-on-failure", "--no-color", "--warnings", "off"),
        # A busy machine is no finding.
        *("--request-timeout", "60", "--suppress-health-check", "all"),
        *(("--max-time", str(seconds)) if seconds else ()),
        *(word for name in only for word in ("--include-operation-id", name)),
    ]
    return subprocess.run(command, env=environment, cwd=REPO, capture_output=True, text=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run schemathesis against a running development system.")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--sms", type=Path, default=REPO / ".local" / "sms.jsonl", help="its SMS file")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31))
    parser.add_argument("--examples", type=int, default=100, help="for each operation")
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--seconds", type=int, default=0, help="search so long (default: once, to the end)")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    done = check(
        url=options.url,
        sms=options.sms,
        seed=options.seed,
        examples=options.examples,
        phases=options.phases,
        seconds=options.seconds,
    )
    print(done.stdout, done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
