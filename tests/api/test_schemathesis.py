"""schemathesis finds nothing against a running system: all its checks, good and bad data, single calls and sequences.

CI asks every operation and every fourth of the bounds that schemathesis finds; ``./dev faults`` asks at all of them. The long
version is for hands: ``python -m tests.api.check`` (docs/api.md).
"""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.api.check import check

SEED = 20261125
#: An app that devices can be reached by; nothing is sent: it has no credentials.
PUSH = {"PUSH_APPS": "android", "PUSH_ANDROID_PROVIDER": "fcm"}


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("one_in", [4, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
def test_nothing_is_found(own_stack: Any, tmp_path: Path, one_in: int) -> None:
    stack = own_stack(gateways=1, apis=1, env=PUSH)
    seen = tmp_path / "seen"
    where: dict[str, Any] = {"url": stack.http, "sms": stack.data / "sms.jsonl", "seen": seen}
    phases = "examples,coverage,fuzzing,stateful"
    done = check(**where, seed=SEED, examples=2, phases=phases, one_in=one_in)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout
    # What is made by chance, numbers and ids among it, may leave an operation without a good request: those are asked again. What
    # is found is judged by the first seed, so that a run repeats it.
    only_refused = _only_refused(stack.http, seen)
    for seed in (SEED + 1, SEED + 2, SEED + 3):
        if only_refused:
            check(**where, seed=seed, examples=10, phases="examples,fuzzing", only=sorted(only_refused))
            only_refused = _only_refused(stack.http, seen)
    assert not only_refused, "it saw these operations only refuse"


def _only_refused(url: str, seen: Path) -> dict[str, set[int]]:
    """Operations that never worked, and what they answered."""
    statuses: defaultdict[str, set[int]] = defaultdict(set)
    for line in seen.read_text().splitlines():
        method, name, status = line.split(" ")
        statuses[f"{method} {name}"].add(int(status))
    with urllib.request.urlopen(f"{url}/schema/openapi.json") as answer:
        document = json.load(answer)
    refused: dict[str, set[int]] = {}
    for item in document["paths"].values():
        for method, operation in item.items():
            if operation["operationId"] == "openapi":
                continue  # where it loaded the document from, which it does not call
            if operation["operationId"] in ("set_icon", "set_photo"):
                continue  # no picture is made by chance, and one that a hook puts there counts as bad data
            found = statuses[f"{method.upper()} {operation['operationId']}"]
            built = operation["tags"] != ["not built yet"]
            good = {status for status in found if (200 <= status < 400 if built else status == 501)}
            if not good:
                refused[operation["operationId"]] = found
    return refused
