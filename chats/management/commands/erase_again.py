"""``manage.py erase_again``: an old backup that was restored brings back whom it knows; this ends them again.

What is left of an erased account is a keyed hash of its id. ``--write FILE`` writes these hashes, to be kept beside the backups;
``erase_again FILE`` behind a restore looks for accounts that have one of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import Account, Erasure
from accounts.services import erasure, persons, recycling
from whatsapp.infra.clock import now_ms


class Command(BaseCommand):
    help = (
        "Write down which accounts were erased, or end those again that a restored backup has brought back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--write", action="store_true", help="write FILE instead of reading it")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["write"]:
            hashes = sorted(
                bytes(value).hex() for value in Erasure.objects.values_list("user_hash", flat=True).iterator()
            )
            options["file"].write_text("".join(f"{value}\n" for value in hashes))
            self.stdout.write(f"{len(hashes)} accounts were erased, or are on their way.")
            return
        try:
            known = {bytes.fromhex(line) for line in options["file"].read_text().split()}
        except (OSError, ValueError) as error:
            raise CommandError(f"{options['file']} cannot be read: {type(error).__name__}") from None
        ended = sum(
            self._end(account_id)
            for account_id in Account.objects.values_list("pk", flat=True).iterator()
            if not known.isdisjoint(persons.user_hashes(str(account_id)))
        )
        self.stdout.write(f"{ended} accounts are ended again.")

    def _end(self, account_id: Any) -> int:
        now = now_ms()
        with transaction.atomic():
            account = Account.objects.select_for_update().get(pk=account_id)
            if account.retired_at is None:
                recycling.retire(account=account, now=now)
                return 1
            erasure.begin(account=account, now=account.retired_at)
            return 0
