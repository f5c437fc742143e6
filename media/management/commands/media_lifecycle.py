from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from media.storage import StorageUnavailable, lifecycle, storage
from media.storage.s3 import S3
from whatsapp.infra.limits import LIMITS


class Command(BaseCommand):
    help = "Prints how long the bucket is to keep media, as S3's lifecycle configuration, or puts it there."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--put", action="store_true", help="give it to the bucket; rules of others there stay as they are"
        )

    def handle(self, *args: Any, put: bool, **options: Any) -> None:
        if wrong := lifecycle.check(lifecycle.POLICY, LIMITS.retention_ms):
            raise CommandError(" ".join(wrong))
        kept = storage()
        location = kept.location if isinstance(kept, S3) else ""
        rules = lifecycle.document(location)["Rules"]
        if not put:
            self.stdout.write(json.dumps({"Rules": rules}, indent=2))
            return
        if not isinstance(kept, S3):
            raise CommandError(
                "There is no bucket (S3_BUCKET): media are in a folder, which the sweep tidies."
            )
        try:
            others = [rule for rule in kept.rules() if not rule.get("ID", "").startswith(lifecycle.RULES)]
            kept.put_rules([*others, *rules])
        except StorageUnavailable as error:
            raise CommandError(f"The bucket did not take it ({error}); the sweep does the same.") from None
        self.stdout.write(f"{len(rules)} rules put, {len(others)} of others left as they were")
