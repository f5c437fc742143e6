"""``manage.py retention``: how long everything is kept, what was purged, what is overdue."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.services import retention as record
from whatsapp.infra import retention
from whatsapp.infra.clock import now_ms


def markdown() -> str:
    """The table as docs/data-protection.md has it."""
    lines = ["| policy | what | where | what for | how long | ended by |", "|---|---|---|---|---|---|"]
    for policy in retention.policies():
        where = ", ".join(f"`{one}`" for one in policy.where)
        by = policy.by if ":" in policy.by or policy.by == "erasure" else f"`{policy.by}`"
        lines.append(f"| {policy.name} | {policy.what} | {where} | {policy.why} | {policy.keep} | {by} |")
    return "\n".join(lines) + "\n"


class Command(BaseCommand):
    help = """Look through every store for what should be gone. Exit code 1 when there is something, or a store does not answer.
    What the jobs have deleted is beside it, over the last days."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=30)
        parser.add_argument("--json", action="store_true", help="an object, policy → {purged, overdue}")
        parser.add_argument(
            "--markdown", action="store_true", help="the table for the documents; asks no store"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["markdown"]:
            self.stdout.write(markdown(), ending="")
            return
        now = now_ms()
        left = record.check(now)
        told = record.told(now, options["days"])
        rows = {
            policy.name: {
                "purged": told[policy.name].purged if policy.name in told else 0,
                "overdue": left.get(policy.name),
            }
            for policy in retention.policies()
        }
        away = [p.name for p in retention.policies() if (p.due or p.overdue) and p.name not in left]
        if options["json"]:
            self.stdout.write(json.dumps(rows))
        else:
            for name, row in rows.items():
                overdue = (
                    "cannot be asked"
                    if name in away
                    else row["overdue"]
                    if row["overdue"] is not None
                    else "-"
                )
                self.stdout.write(f"{name:20} purged {row['purged']:>12,}   overdue {overdue}")
        if away or any(left.values()):
            raise SystemExit(1)
