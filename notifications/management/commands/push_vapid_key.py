from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management.base import BaseCommand

from notifications import vapid


class Command(BaseCommand):
    help = "Makes a key for Web Push and prints it. Nothing is stored, and every call makes another one."

    def handle(self, *args: Any, **options: Any) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.stdout.write(f"PUSH_<NAME>_PRIVATE_KEY={vapid.private_text(key)}")
        self.stdout.write(f"applicationServerKey: {vapid.public_text(key)}")
