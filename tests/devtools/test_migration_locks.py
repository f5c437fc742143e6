"""The part of lint that reads migrations for long locks: what it finds, what it lets pass, its list of exceptions."""

from __future__ import annotations

import pytest

from devtools.migration_locks import JUDGED, lint, problems


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("require-concurrent-index-creation", "CREATE INDEX i ON delivery_event (sender);"),
        ("ban-concurrent-index-creation-in-transaction", "CREATE INDEX CONCURRENTLY i ON delivery_event (sender);"),
        ("constraint-missing-not-valid", "ALTER TABLE delivery_event ADD CONSTRAINT c CHECK (seq > 0);"),
        ("adding-foreign-key-constraint",
         "ALTER TABLE accounts_device ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES accounts_account (id);"),
        ("changing-column-type", "ALTER TABLE delivery_event ALTER COLUMN kind TYPE integer;"),
        ("adding-not-nullable-field", "ALTER TABLE delivery_event ALTER COLUMN kind SET NOT NULL;"),
        ("adding-field-with-default", "ALTER TABLE delivery_event ADD COLUMN id uuid DEFAULT gen_random_uuid();"),
        ("disallowed-unique-constraint", "ALTER TABLE accounts_device ADD CONSTRAINT u UNIQUE (name);"),
        ("renaming-column", "ALTER TABLE delivery_event RENAME COLUMN kind TO what;"),
        ("ban-drop-column", "ALTER TABLE delivery_event DROP COLUMN kind;"),
    ],
)  # fmt: skip
def test_what_locks_a_table_in_use_is_found(rule: str, text: str) -> None:
    findings = lint([("delivery.0099_new", f"BEGIN;\n{text}\nCOMMIT;\n")])
    assert rule in {finding.rule for finding in findings}
    assert any(line.startswith(f"delivery.0099_new: {rule}: line ") for line in problems(findings, {}))


def test_what_locks_nothing_for_long_passes() -> None:
    made = "CREATE TABLE t (id bigint PRIMARY KEY);\nCREATE INDEX i ON t (id);\nALTER TABLE t ADD CHECK (id > 0) NOT VALID;"
    texts = [
        ("a.0001_table", f"BEGIN;\n{made}\nCOMMIT;\n"),
        ("a.0002_column", "BEGIN;\nALTER TABLE delivery_event ADD COLUMN n bigint DEFAULT 0 NOT NULL;\nCOMMIT;\n"),
        ("a.0003_index", "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON delivery_event (sender);"),
        ("a.0004_check", "ALTER TABLE delivery_event ADD CONSTRAINT c CHECK (seq > 0) NOT VALID;"),
    ]  # fmt: skip
    assert problems(lint(texts), {}) == []


def test_a_judgement_that_nothing_needs_is_told() -> None:
    known = {("a.0001_x", "renaming-column"): "because"}
    assert problems([], known) == ["a.0001_x: renaming-column: is judged, and does not occur"]
    assert all(JUDGED.values())


def test_sql_that_cannot_be_read_is_no_silence() -> None:
    findings = lint([("a.0001_x", "CREATE INDEKS i ON t (a);")])
    assert {finding.rule for finding in findings} == {"syntax-error"}
