"""Calls while a crowd is told something, small, on a whole system: each call and each message reaches the provider once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import push_burst
from bench.generator import Generators
from bench.phases import Bench
from bench.push_provider import Provider
from bench.stack import System
from tests.support.patience import LONG


@pytest.mark.timeout(4 * LONG)
def test_a_small_one(
    own_stack: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = push_burst.options().parse_args(["--recipients", "120", "--alone", "5", "--most", "20"])
    args.timeout = LONG
    with Provider(tmp_path) as provider:
        system = own_stack(fanout=True, beat=True, env=provider.variables())
        bench = Bench(args, System.around(system.stack), Generators(0), lambda text: None)
        result = push_burst.measure(bench, provider)
    assert not result["checks"]["problems"], result["checks"]
    assert result["alone"]["calls"] == 5
    assert result["load"]["recipients"] == 120
    for name in ("alone", "burst"):
        assert result[name]["signalled_to_accepted_ms"]["p50"] > 0
    assert "every call and every message reached the provider, each once" in capsys.readouterr().out
