"""The bench of the pages of the staff, once, small, on a whole system."""

from __future__ import annotations

from typing import Any

import pytest

from bench import staff, staff_pages
from tests.bench.test_erasure import bench_of

#: A flood needs 625 cases.
SMALL = "--accounts 3000 --reports 1500 --requests 1 --statements 1"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_page_of_the_staff_is_asked_for(own_stack: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A system of its own: its tables are filled behind everybody's back."""
    system = own_stack(gateways=1, worker=False, env=staff.ENV)
    result = staff.measure(bench_of(system, staff, f"{SMALL} --slow 60000 --plans flagged"))
    assert not result["checks"]["problems"], result["checks"]
    rows = result["rows"]
    assert (rows["accounts_account"], rows["accounts_report"], rows["accounts_case"]) == (3000, 1500, 900)
    pages = {(row["role"], row["page"]) for row in result["pages"]}
    assert pages == {(role, name) for role, names in staff_pages.PAGES.items() for name in names}
    assert all(0 < row["p50_ms"] <= row["p95_ms"] <= row["max_ms"] for row in result["pages"])
    (told,) = result["plans"]
    assert told["page"] == "queue: flagged"
    assert any("Execution Time:" in line for line in told["slowest"][0]["plan"])
    said = capsys.readouterr().out
    for words in ("queue: flagged", "pages within", "Execution Time", "every page answered"):
        assert words in said
