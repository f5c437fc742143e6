"""Part of ``./dev lint``: what in our migrations holds a lock for long on a table that people are using.

Each migration becomes SQL (no server is asked) and goes through squawk, a linter of PostgreSQL migrations. A table that the same
migration makes may be treated in any way: nobody has rows in it. What was judged harmless, or is done and cannot be changed any
more, stands in :data:`JUDGED` with its reason; an entry that nothing needs is an error too, so the list stays true.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from devtools.paths import VENV_PYTHON

#: Rules about locks, and about what processes of the version before would trip over. Squawk's rules of taste are left out.
RULES: Final = (
    "adding-field-with-default",
    "adding-foreign-key-constraint",
    "adding-not-nullable-field",
    "adding-required-field",
    "adding-serial-primary-key-field",
    "ban-concurrent-index-creation-in-transaction",
    "ban-drop-column",
    "ban-drop-not-null",
    "ban-drop-table",
    "changing-column-type",
    "constraint-missing-not-valid",
    "disallowed-unique-constraint",
    "renaming-column",
    "renaming-table",
    "require-concurrent-index-creation",
    "require-concurrent-index-deletion",
    "syntax-error",
)

#: The column is new and null in every row: no row is checked against the other table, the scan is the whole cost (0.1 s for two
#: million rows).
_NEW_COLUMN = "the column is new and null"
#: Applied where this runs already, so a change would help nobody there; who upgrades from before with a table of millions of rows
#: has writers of that table wait while the index is built (about a second for each million rows), readers do not.
_EMPTY = "the table came with the migration before, in the same release: nothing is in it"
_SHIPPED = "shipped; an index over an empty or almost empty column, about a second for each million rows"

#: (migration, rule) → why it stays.
JUDGED: Final[dict[tuple[str, str], str]] = {
    (
        "accounts.0003_codes_bans_and_retired_accounts",
        "ban-drop-not-null",
    ): "the catalogue only; old processes write a value",
    ("accounts.0003_codes_bans_and_retired_accounts", "require-concurrent-index-creation"): _SHIPPED,
    ("accounts.0004_address_books", "disallowed-unique-constraint"): _SHIPPED,
    ("accounts.0004_address_books", "require-concurrent-index-creation"): _SHIPPED,
    ("accounts.0007_device_links", "adding-foreign-key-constraint"): _NEW_COLUMN,
    ("accounts.0007_device_links", "require-concurrent-index-creation"): _SHIPPED,
    ("accounts.0008_photos", "adding-foreign-key-constraint"): _NEW_COLUMN,
    ("accounts.0008_photos", "require-concurrent-index-creation"): _SHIPPED,
    ("delivery.0009_amendments", "require-concurrent-index-creation"): _SHIPPED,
    ("groups.0002_icons", "adding-foreign-key-constraint"): _NEW_COLUMN,
    ("groups.0002_icons", "require-concurrent-index-creation"): _SHIPPED,
    ("accounts.0013_reports_and_cases", "changing-column-type"): "a longer varchar: the catalogue only",
    ("accounts.0013_reports_and_cases", "require-concurrent-index-creation"): _EMPTY,
    ("media.0002_pipeline", "require-concurrent-index-creation"): _EMPTY,
    ("media.0004_deleted", "require-concurrent-index-creation"): _EMPTY,
    ("media.0007_blocked_content", "require-concurrent-index-creation"): _EMPTY,
}


class Finding(NamedTuple):
    migration: str
    rule: str
    text: str


def statements() -> Iterator[tuple[str, str]]:
    """The SQL of every migration of ours: (``app.name``, text). Steps in Python are not in it: those go by batches, see
    docs/postgresql.md."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp.settings")
    import django

    django.setup()
    from django.apps import apps
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader
    from psycopg import sql

    def literal(value: Any) -> str:
        return sql.Literal(value).as_string(None)

    # No server is asked: what Django wants to know of it is its version, and how it quotes.
    unasked: Any = connection
    unasked.__dict__["pg_version"] = 180_000
    unasked.ensure_connection = lambda: None
    unasked.ops.compose_sql = lambda text, values: text % tuple(map(literal, values or ()))
    loader = MigrationLoader(None)
    ours = {config.label for config in apps.get_app_configs() if "site-packages" not in config.path}
    for key in sorted(key for key in loader.disk_migrations if key[0] in ours):
        migration = loader.disk_migrations[key]
        before = loader.project_state([node for node in loader.graph.forwards_plan(key) if node != key])
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            migration.apply(before, editor, collect_sql=True)
        text = "\n".join(map(str, editor.collected_sql))  # type: ignore[attr-defined]
        yield ".".join(key), f"BEGIN;\n{text}\nCOMMIT;\n" if migration.atomic else text


def lint(texts: list[tuple[str, str]]) -> list[Finding]:
    """What squawk finds in these migrations. Raises ``RuntimeError`` if it cannot run or read them."""
    with tempfile.TemporaryDirectory(prefix="migrations-") as folder:
        files = []
        for name, text in texts:
            file = Path(folder) / f"{name}.sql"
            file.write_text(text)
            files.append(str(file))
        run = subprocess.run(
            [str(Path(VENV_PYTHON).parent / "squawk"), "--pg-version", "18.0", "--reporter", "json", *files],
            capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "SQUAWK_DISABLE_GITHUB": "1"},
        )  # fmt: skip
    try:
        rows = json.loads(run.stdout)
    except ValueError:
        raise RuntimeError(f"squawk failed: {run.stderr.strip()[-500:]}") from None
    found = [
        Finding(Path(row["file"]).stem, row["rule_name"], f"line {row['line']}: {row['message']}")
        for row in rows
    ]
    return [finding for finding in found if finding.rule in RULES]


def problems(findings: list[Finding], judged: dict[tuple[str, str], str]) -> list[str]:
    """A line for each finding that is not judged, and for each judgement without a finding."""
    found = {(finding.migration, finding.rule) for finding in findings}
    lines = [f"{one.migration}: {one.rule}: {one.text}" for one in findings if one[:2] not in judged]
    return lines + [
        f"{name}: {rule}: is judged, and does not occur" for name, rule in judged if (name, rule) not in found
    ]


def main() -> int:
    found = problems(lint(list(statements())), JUDGED)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
