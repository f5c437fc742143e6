"""Run inside ``.venv``: tries each URL of a JSON object on stdin, prints {variable: reason} of those that fail."""

from __future__ import annotations

import json
import sys

_TIMEOUT = 5.0


def database(url: str) -> None:
    import psycopg

    with psycopg.connect(url, connect_timeout=int(_TIMEOUT), autocommit=True) as connection:
        connection.execute("SELECT 1")


def valkey(url: str) -> None:
    import redis

    with redis.Redis.from_url(
        url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=None
    ) as client:
        client.ping()


def broker(url: str) -> None:
    import kombu

    if url.startswith(("redis", "unix", "valkey")):
        return valkey(url)
    with kombu.Connection(url, connect_timeout=_TIMEOUT) as connection:
        connection.ensure_connection(max_retries=1, timeout=_TIMEOUT)


def hot(url: str) -> None:
    from whatsapp.infra import hot_sync, slots

    if not slots.is_cluster(url):
        return valkey(url)
    with hot_sync.client(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT) as client:
        client.ping()


PROBES = {"DATABASE_URL": database, "HOT_URL": hot, "BROKER_URL": broker, "CACHE_URL": valkey}


def main() -> None:
    failed: dict[str, str] = {}
    for name, url in json.load(sys.stdin).items():
        try:
            PROBES[name](url)
        except Exception as error:  # every library has its own; the user needs the sentence, not the class
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            failed[name] = lines[-1] if lines else type(error).__name__
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
