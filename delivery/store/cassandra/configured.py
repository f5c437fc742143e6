"""The store on Cassandra as settings say, not opened yet."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from delivery.store.cassandra import life
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from whatsapp.infra.hot_cluster import open_hot


def store() -> CassandraStore:
    """The store of the engine's processes and of the services; not opened yet, closed by its user."""
    return CassandraStore(session(), hot=open_hot(settings.HOT_URL), makes=settings.CASSANDRA_HOT_COPIES)


def session() -> Cassandra:
    """Opened by ``open()``, or by its first statement. Raises ``ImproperlyConfigured`` when a certificate cannot be read."""
    life.set_current(settings.LOG_LIFE)
    return Cassandra(
        settings.CASSANDRA_CONTACT_POINTS,
        settings.CASSANDRA_KEYSPACE,
        port=settings.CASSANDRA_PORT,
        data_center=settings.CASSANDRA_DATA_CENTRE,
        username=settings.CASSANDRA_USER or None,
        password=settings.CASSANDRA_PASSWORD or None,
        trusted=_pem("CASSANDRA_CA_FILE"),
        certificate=_pem("CASSANDRA_CERT_FILE"),
        key=_pem("CASSANDRA_KEY_FILE"),
        check_host=settings.CASSANDRA_CHECK_HOST,
    )


def _pem(name: str) -> str:
    file = getattr(settings, name)
    try:
        return Path(file).read_text(encoding="ascii") if file else ""
    except (OSError, UnicodeError) as error:
        raise ImproperlyConfigured(f"{name} cannot be read: {error}.") from None
