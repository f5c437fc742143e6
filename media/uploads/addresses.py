"""The addresses whose bodies are files: read by their views while they come (``whatsapp/infra/streaming.py``)."""

from __future__ import annotations


def streams(method: str, path: str) -> bool:
    if method == "PUT":
        return path.startswith("/media/parts/")
    if method not in ("POST", "PATCH"):
        return False
    return path == "/media/upload" or path == "/media/tus" or path.startswith("/media/tus/")
