"""A bench of push: a system of its own, and beside it a provider to which it sends."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.figures import Figures
from bench.phases import Bench
from bench.push_provider import Provider
from bench.running import run
from devtools.paths import REPO


def run_beside_provider(
    name: str, args: argparse.Namespace, measure: Callable[[Bench, Provider], Figures]
) -> int:
    """As :func:`bench.running.run`, whose exit code it returns; ``args.env`` is what the system finds the provider by."""
    args.clients, args.generators = 1, 0  # this process writes
    parent = args.data or REPO / ".local"
    parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="push-", dir=parent) as folder,
        Provider(Path(folder)) as provider,
    ):
        args.env = provider.variables()
        return run(name, args, lambda bench: measure(bench, provider))
