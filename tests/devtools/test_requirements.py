"""The pins: every file has a hash, no index is named, both lists agree with each other and with what they are made from."""

from __future__ import annotations

import re

import pytest

from devtools.paths import REPO

#: Behind a semicolon: on which machines.
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)(?: ;.*)? \\$", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(_PIN.findall((REPO / name).read_text()))


def asked(name: str) -> set[str]:
    lines = (line.split("#")[0].strip() for line in (REPO / name).read_text().splitlines())
    return {re.split(r"[\[<>=~! ;]", line)[0] for line in lines if line and not line.startswith("-")}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_has_a_hash_and_no_index_is_named(name: str) -> None:
    text = (REPO / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", text)
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]  # what is before the first pin is the heading
    assert len(blocks) == len(pins(name)) > 20
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_the_pins_hold_what_is_asked_for(name: str) -> None:
    assert asked(f"{name}.in") <= set(pins(f"{name}.txt"))


def test_both_lists_agree() -> None:
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")
    both = runtime.keys() & development.keys()
    assert {name: runtime[name] for name in both} == {name: development[name] for name in both}
