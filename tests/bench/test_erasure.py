"""The benches of erasure and export, once, small, on a whole system."""

from __future__ import annotations

from typing import Any

import pytest

from bench import erasure, export
from bench.generator import Generators
from bench.phases import Bench
from bench.stack import System

SMALL = "--accounts 2 --conversations 10 --messages 30 --files 2 --file-kb 10"


def bench_of(system: Any, module: Any, words: str) -> Bench:
    args = module.options().parse_args(words.split())
    return Bench(args, System.around(system.stack), Generators(0), lambda text: None)


@pytest.mark.timeout(300)
def test_accounts_are_exported_erased_and_searched_for(
    own_stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A system of its own: a month of retention is let pass."""
    system = own_stack(gateways=1, worker=False)
    made = export.measure(bench_of(system, export, SMALL))
    assert not made["checks"]["problems"], made["checks"]
    assert made["mb_per_archive"] > 0.02, "the files are in it"
    result = erasure.measure(bench_of(system, erasure, f"{SMALL} --crowd 3 --rows 1000"))
    assert not result["checks"]["problems"], result["checks"]
    assert result["accounts_per_second"] > 0
    assert set(result["search_seconds"]) == {"1", "3"}
    assert result["rows"] > 1_000
    said = capsys.readouterr().out
    for words in ("archives/s of", "search through", "went out of every store"):
        assert words in said
