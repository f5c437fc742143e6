"""A management step beside the servers: makes archives of people's data.

``python -m bench.archived`` in the environment of a system. Standard input ``{"accounts", "shape"}`` (:mod:`bench.rich`),
standard output: the figures. ``growth_mb``: by how much the memory of this process was larger than before the first one, at most.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import django

from bench import rich
from whatsapp.infra.clock import now_ms


def _measure(asked: dict[str, Any]) -> dict[str, Any]:
    from accounts.models import Export
    from accounts.services import exports

    accounts = rich.make(asked["accounts"], rich.Shape(**asked["shape"]), rich.first_number())
    warm, *rows = [exports.ask(account=account, now=now_ms()) for account in accounts]
    exports.build(warm.pk)  # what is loaded and compiled once
    before, began = _peak_kb(), time.perf_counter()
    made = [exports.build(row.pk) for row in rows]
    took = time.perf_counter() - began
    sizes = list(
        Export.objects.filter(pk__in=[row.pk for row in rows], state="ready").values_list("size", flat=True)
    )
    problems = [] if all(made) and len(sizes) == len(rows) else [f"{len(sizes)} of {len(rows)} are ready"]
    return {
        "archives_per_second": round(len(sizes) / took, 3),
        "mb_per_second": round(sum(sizes) / took / 1e6, 2),
        "mb_per_archive": round(sum(sizes) / max(len(sizes), 1) / 1e6, 3),
        "growth_mb": round((_peak_kb() - before) / 1024, 1),
        "peak_mb": round(_peak_kb() / 1024, 1),
        "problems": problems,
    }


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    django.setup()
    json.dump(_measure(json.load(sys.stdin)), sys.stdout)
