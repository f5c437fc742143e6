"""The addresses of Valkey's parts, and how Celery reaches its broker.

``HOT_URL`` is a server (``redis[s]://``, ``unix://``) or a Valkey Cluster (``cluster[s]://[user:password@]host:port,host:port…``,
any nodes of it). Broker and cache need servers of their own then: kombu and Django's cache know no cluster. ``BROKER_URL`` may be
a Valkey that Sentinels look after: ``sentinel://[user:password@]host:port[/db];sentinel://…`` with ``BROKER_SENTINEL_MASTER``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured


def urls(env: Mapping[str, str]) -> tuple[str, str, str, str]:
    """HOT_URL, BROKER_URL, CACHE_URL, and where the admin's live pages have their channel layer."""
    hot = env.get("HOT_URL", "redis://127.0.0.1:6379/0")
    broker, cache = env.get("BROKER_URL", hot), env.get("CACHE_URL", hot)
    for name, url in (("BROKER_URL", broker), ("CACHE_URL", cache)):
        if url.startswith(("cluster://", "clusters://")):
            raise ImproperlyConfigured(f"{name} must name a server of its own: it cannot be a Valkey Cluster")
    return hot, broker, cache, cache if hot.startswith(("cluster://", "clusters://")) else hot


def broker_options(url: str, env: Mapping[str, str]) -> dict[str, Any]:
    """CELERY_BROKER_TRANSPORT_OPTIONS."""
    options: dict[str, Any] = {
        "visibility_timeout": 3600,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
    }
    if url.startswith("sentinel://"):
        options["master_name"] = env.get("BROKER_SENTINEL_MASTER", "broker")
        # A Sentinel that hangs must not hold up the look at the next one.
        sentinel: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2}
        if env.get("BROKER_SENTINEL_PASSWORD"):
            sentinel["password"] = env["BROKER_SENTINEL_PASSWORD"]
        options["sentinel_kwargs"] = sentinel
        options["socket_timeout"] = 10  # above the workers' blocking reads of 1 s: a frozen server is left
    return options
