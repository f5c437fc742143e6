"""Where messages are kept: PostgreSQL, or a Cassandra cluster beside it. Everything else stays in PostgreSQL either way."""

from __future__ import annotations

import os
import re

from django.core.exceptions import ImproperlyConfigured

from whatsapp.settings import env

#: ``postgres`` or ``cassandra``. A cluster that is named below is not used for messages until this says so.
LOG_STORE = os.environ.get("LOG_STORE") or "postgres"
_POINTS = env.addresses("CASSANDRA_CONTACT_POINTS", default_port=9042)
#: Some nodes of the local data centre; the others are learnt from them.
CASSANDRA_CONTACT_POINTS = [host for host, _ in _POINTS]
#: The same on every node: that is what a cluster tells its clients.
CASSANDRA_PORT = _POINTS[0][1] if _POINTS else 9042
#: After a log on Cassandra was restored: the time of that (Unix seconds), in every process. 0: never.
LOG_LIFE = env.number("LOG_LIFE", 0)
CASSANDRA_KEYSPACE = os.environ.get("CASSANDRA_KEYSPACE") or "whatsapp"
#: The one whose nodes this process asks, and whose majority decides.
CASSANDRA_DATA_CENTRE = os.environ.get("CASSANDRA_DATA_CENTRE") or "datacenter1"
#: Whether numbers are given out by copies of state documents on the hot node; "0": by a conditional write each.
CASSANDRA_HOT_COPIES = os.environ.get("CASSANDRA_HOT_COPIES", "1") != "0"
CASSANDRA_USER = os.environ.get("CASSANDRA_USER") or ""
CASSANDRA_PASSWORD = os.environ.get("CASSANDRA_PASSWORD") or ""
#: PEM files. The first turns TLS on: the certificates that may vouch for a node. The other two are ours, if nodes ask for one.
CASSANDRA_CA_FILE = os.environ.get("CASSANDRA_CA_FILE") or ""
CASSANDRA_CERT_FILE = os.environ.get("CASSANDRA_CERT_FILE") or ""
CASSANDRA_KEY_FILE = os.environ.get("CASSANDRA_KEY_FILE") or ""
#: Whether a node's certificate must name the address at which we reach it. "0": any that the authority vouches for will do.
CASSANDRA_CHECK_HOST = env.flag("CASSANDRA_CHECK_HOST", default=True)


def _replication(text: str) -> dict[str, int]:
    """``{data centre: copies}`` from ``eu:3,us:3``."""
    found = {}
    for word in text.split(","):
        name, colon, copies = word.strip().rpartition(":")
        if not name or not colon or not copies.isascii() or not copies.isdigit() or not 0 < int(copies) < 10:
            raise ImproperlyConfigured(
                f"CASSANDRA_REPLICATION holds {word!r}; it must be data-centre:copies[,data-centre:copies…]."
            )
        found[name] = int(copies)
    return found


#: Copies of each row, by data centre; ``manage.py sync_cassandra`` makes the keyspace so.
CASSANDRA_REPLICATION = _replication(os.environ.get("CASSANDRA_REPLICATION") or f"{CASSANDRA_DATA_CENTRE}:3")

if LOG_STORE not in ("postgres", "cassandra"):
    raise ImproperlyConfigured(f"LOG_STORE is {LOG_STORE!r}; it must be postgres or cassandra.")
if LOG_STORE == "cassandra" and not _POINTS:
    raise ImproperlyConfigured("LOG_STORE is cassandra, and CASSANDRA_CONTACT_POINTS names no node.")
if len({port for _, port in _POINTS}) > 1:
    raise ImproperlyConfigured(
        "CASSANDRA_CONTACT_POINTS has several ports; a cluster has one, the same on all nodes."
    )
if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", CASSANDRA_KEYSPACE):
    raise ImproperlyConfigured(
        f"CASSANDRA_KEYSPACE is {CASSANDRA_KEYSPACE!r}; it is up to 48 of a-z, 0-9 and _, a letter first."
    )
if CASSANDRA_DATA_CENTRE not in CASSANDRA_REPLICATION:
    raise ImproperlyConfigured(
        f"CASSANDRA_REPLICATION has no copies in {CASSANDRA_DATA_CENTRE!r}, which CASSANDRA_DATA_CENTRE names."
    )
if bool(CASSANDRA_USER) != bool(CASSANDRA_PASSWORD):
    raise ImproperlyConfigured("CASSANDRA_USER and CASSANDRA_PASSWORD go together.")
if bool(CASSANDRA_CERT_FILE) != bool(CASSANDRA_KEY_FILE) or (CASSANDRA_CERT_FILE and not CASSANDRA_CA_FILE):
    raise ImproperlyConfigured(
        "CASSANDRA_CERT_FILE and CASSANDRA_KEY_FILE go together, and with CASSANDRA_CA_FILE."
    )
