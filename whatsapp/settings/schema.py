"""The settings of ``manage.py sync_cassandra`` alone: with the driver and the models of Cassandra's tables, which no process
that serves messages loads."""

from __future__ import annotations

import logging
import ssl
from typing import Any

from cassandra.policies import DCAwareRoundRobinPolicy
from django.core.exceptions import ImproperlyConfigured

from whatsapp.settings import *  # noqa: F403
from whatsapp.settings import (
    CASSANDRA_CA_FILE,
    CASSANDRA_CERT_FILE,
    CASSANDRA_CHECK_HOST,
    CASSANDRA_CONTACT_POINTS,
    CASSANDRA_DATA_CENTRE,
    CASSANDRA_KEY_FILE,
    CASSANDRA_KEYSPACE,
    CASSANDRA_PASSWORD,
    CASSANDRA_PORT,
    CASSANDRA_REPLICATION,
    CASSANDRA_USER,
    DATABASES,
    INSTALLED_APPS,
)

if not CASSANDRA_CONTACT_POINTS:
    raise ImproperlyConfigured("CASSANDRA_CONTACT_POINTS names no node.")

_PATIENCE_S = 60


def _database() -> dict[str, Any]:
    connection: dict[str, Any] = {
        "port": CASSANDRA_PORT,
        "protocol_version": 4,
        "load_balancing_policy": DCAwareRoundRobinPolicy(CASSANDRA_DATA_CENTRE),
        "retry_connect": True,
        "lazy_connect": True,
        "consistency": None,
        # A change of the schema on a busy cluster takes seconds on each node; nobody waits for this command.
        "connect_timeout": _PATIENCE_S,
        "idle_heartbeat_timeout": _PATIENCE_S,
        "control_connection_timeout": _PATIENCE_S,
        "max_schema_agreement_wait": _PATIENCE_S,
    }
    if CASSANDRA_CA_FILE:
        try:
            context = ssl.create_default_context(cafile=CASSANDRA_CA_FILE)
            if CASSANDRA_CERT_FILE:
                context.load_cert_chain(CASSANDRA_CERT_FILE, CASSANDRA_KEY_FILE)
        except (OSError, ssl.SSLError) as error:
            raise ImproperlyConfigured(f"the certificates of Cassandra cannot be read: {error}.") from None
        context.check_hostname = CASSANDRA_CHECK_HOST
        connection["ssl_context"] = context
    return {
        "ENGINE": "django_cassandra_engine",
        "NAME": CASSANDRA_KEYSPACE,
        "HOST": ",".join(CASSANDRA_CONTACT_POINTS),
        "USER": CASSANDRA_USER,
        "PASSWORD": CASSANDRA_PASSWORD,
        "OPTIONS": {
            "replication": {"strategy_class": "NetworkTopologyStrategy", **CASSANDRA_REPLICATION},
            "connection": connection,
            "session": {"default_timeout": _PATIENCE_S},
        },
    }


#: Ours first: its command goes over the engine's.
INSTALLED_APPS = ["delivery.cassandra_schema", "django_cassandra_engine", *INSTALLED_APPS]
DATABASES = {**DATABASES, "cassandra": _database()}
logging.getLogger("cassandra").setLevel(
    logging.CRITICAL
)  # what matters of it reaches the command as an exception
