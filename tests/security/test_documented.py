"""docs/security.md names its proofs: each of them exists."""

from __future__ import annotations

import re

from devtools.paths import REPO


def test_every_test_that_is_named_exists() -> None:
    text = (REPO / "docs" / "security.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 60
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (REPO / "tests" / file).exists()
        or not re.search(rf"^(?:async )?def {name}\(", (REPO / "tests" / file).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_every_chapter_is_there() -> None:
    text = (REPO / "docs" / "security.md").read_text()
    assert [int(number) for number in re.findall(r"^## V(\d+) ", text, re.MULTILINE)] == list(range(1, 18))
