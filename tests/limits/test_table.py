"""The table says of each limit what it is, and the code does what the table says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from whatsapp.infra.limit_classes import CLASSES
from whatsapp.infra.limit_table import TABLE, Fails, How, Scope
from whatsapp.infra.limits import Limits

REPO = Path(__file__).resolve().parents[2]
CODE = {
    path: path.read_text()
    for app in ("accounts", "chats", "delivery", "groups", "media", "notifications", "whatsapp")
    for path in (REPO / app).rglob("*.py")
    if path.name not in ("limits.py", "limit_table.py", "limit_classes.py") or path.parent.name != "infra"
}
OVERRIDABLE = sorted(name for name, about in TABLE.items() if about.overridable)
DEFAULTS = {field.name: field.default for field in fields(Limits)}


def _uses(*patterns: str) -> set[str]:
    """Names that the code asks for in one of these ways."""
    return {name for text in CODE.values() for pattern in patterns for name in re.findall(pattern, text)}


#: As everybody's.
SHARED = _uses(r"\bLIMITS\.(\w+)")
#: As this account's or session's.
OWN = _uses(
    r"\blimits\.(\w+)",
    r'limit_for\([\w.]+, ["\'](\w+)["\']\)',
    r'"((?:first_contacts|media|reports)\w*_per_\w+)"',
)


def test_every_limit_has_a_row_and_every_row_a_limit() -> None:
    assert list(TABLE) == list(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_limit_is_used(name: str) -> None:
    assert name in SHARED | OWN


@pytest.mark.parametrize("name", OVERRIDABLE)
def test_what_an_account_may_have_of_its_own_is_asked_for_as_its_own(name: str) -> None:
    """Where it was not, an override would change nothing."""
    assert name in OWN
    elsewhere = {path for path, text in CODE.items() if re.search(rf"\bLIMITS\.{name}\b", text)}
    assert not elsewhere


def test_nothing_else_is_asked_for_as_an_accounts_own() -> None:
    asked = _uses(r'limit_for\([\w.]+, ["\'](\w+)["\']\)', r"session\.limits\.(\w+)")
    assert asked
    assert asked <= set(OVERRIDABLE)


@pytest.mark.parametrize("name", OVERRIDABLE)
def test_bounds_of_an_override_hold_what_everybody_has(name: str) -> None:
    about = TABLE[name]
    assert about.least is not None
    assert about.most is not None
    assert 0 <= about.least <= int(str(DEFAULTS[name])) <= about.most
    assert about.scope not in (Scope.GATEWAY, Scope.PROCESS, Scope.ADDRESS, Scope.PHONE)


def test_every_limit_says_why_it_fails_open_or_closed() -> None:
    assert all(about.guard.why for about in TABLE.values())


@pytest.mark.parametrize("name", [n for n, about in TABLE.items() if about.how in (How.WINDOW, How.STEADY)])
def test_what_is_counted_in_the_database_fails_closed(name: str) -> None:
    assert TABLE[name].guard.fails is Fails.CLOSED


@pytest.mark.parametrize("name", [n for n, about in TABLE.items() if about.how in (How.GCRA, How.BUCKET)])
def test_what_is_counted_in_memory_fails_open(name: str) -> None:
    assert TABLE[name].guard.fails is Fails.OPEN


#: What the code calls with the limit near by, for each way of counting in the database.
CALLS = {How.WINDOW: r"limits\.(?:count|wait|latest)\(|counters", How.STEADY: r"rates\.take\(|take\("}


@pytest.mark.parametrize("name", [n for n, about in TABLE.items() if about.how in CALLS])
def test_the_code_counts_as_the_table_says(name: str) -> None:
    call = re.compile(CALLS[TABLE[name].how])
    used = [text for text in CODE.values() if re.search(rf"\b{name}\b", text)]
    files = [text for text in used if call.search(text)]
    assert files, f"{name}: nothing that uses it counts like this"
    if TABLE[name].how is How.STEADY:
        assert not any(re.search(rf"limits\.count\([^)]*{name}", text, re.S) for text in files)
    else:
        assert not any(re.search(rf"rates\.take\([^)]*{name}", text, re.S) for text in files)


@pytest.mark.parametrize("limit_class", CLASSES)
def test_classes_have_values_within_bounds_that_differ_from_everybodys(limit_class: str) -> None:
    values = CLASSES[limit_class].values
    assert values
    for name, value in values.items():
        about = TABLE[name]
        assert about.least is not None
        assert about.most is not None
        assert about.least <= value <= about.most
        assert value != DEFAULTS[name]
