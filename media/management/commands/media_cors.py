from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from media.storage import StorageUnavailable, cors, storage
from media.storage.s3 import S3


class Command(BaseCommand):
    help = "Prints which pages (WEB_ORIGINS) are to use the bucket, as S3's CORS configuration, or puts it there."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--put", action="store_true", help="give it to the bucket; rules of others there stay as they are"
        )

    def handle(self, *args: Any, put: bool, **options: Any) -> None:
        rules = cors.rules(settings.WEB_ORIGINS)
        if not put:
            self.stdout.write(json.dumps({"CORSRules": rules}, indent=2))
            return
        kept = storage()
        if not isinstance(kept, S3):
            raise CommandError("There is no bucket (S3_BUCKET): the folder's addresses are those of the API.")
        if not rules:
            raise CommandError("WEB_ORIGINS is not set: no page is to use the bucket.")
        try:
            others = [rule for rule in kept.cors() if rule.get("ID") != cors.RULE]
            kept.put_cors([*others, *rules])
        except StorageUnavailable as error:
            raise CommandError(f"The bucket did not take it ({error}).") from None
        self.stdout.write(f"{len(rules)} rules put, {len(others)} of others left as they were")
