"""Which store keeps the messages, and where Cassandra is: what is wrong is said in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.paths import REPO

PRINT = (
    "from django.conf import settings as s; print(s.LOG_STORE, s.CASSANDRA_CONTACT_POINTS, s.CASSANDRA_PORT, "
    "s.CASSANDRA_REPLICATION)"
)


def settings(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", PRINT],
        cwd=REPO,
        env={**kept, "WHATSAPP_ENV": "development", "WHATSAPP_DATA": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_messages_are_in_postgresql_until_settings_say_otherwise(tmp_path: Path) -> None:
    run = settings(tmp_path, CASSANDRA_CONTACT_POINTS="one.example:9142,two.example:9142")
    assert run.stdout.strip() == "postgres ['one.example', 'two.example'] 9142 {'datacenter1': 3}", run.stderr
    run = settings(
        tmp_path,
        LOG_STORE="cassandra",
        CASSANDRA_CONTACT_POINTS="one.example",
        CASSANDRA_DATA_CENTRE="eu",
        CASSANDRA_REPLICATION="eu:3,us:2",
    )
    assert run.stdout.strip() == "cassandra ['one.example'] 9042 {'eu': 3, 'us': 2}", run.stderr


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"LOG_STORE": "mongo"}, "LOG_STORE is 'mongo'; it must be postgres or cassandra."),
        ({"LOG_STORE": "cassandra"}, "CASSANDRA_CONTACT_POINTS names no node."),
        ({"CASSANDRA_CONTACT_POINTS": "a:1,b:2"}, "CASSANDRA_CONTACT_POINTS has several ports"),
        ({"CASSANDRA_KEYSPACE": "x; DROP"}, "CASSANDRA_KEYSPACE is 'x; DROP'"),
        ({"CASSANDRA_REPLICATION": "eu"}, "it must be data-centre:copies"),
        ({"CASSANDRA_REPLICATION": "eu:3"}, "has no copies in 'datacenter1'"),
        ({"CASSANDRA_USER": "me"}, "CASSANDRA_USER and CASSANDRA_PASSWORD go together."),
        ({"CASSANDRA_CERT_FILE": "/x"}, "go together, and with CASSANDRA_CA_FILE."),
        ({"CASSANDRA_CHECK_HOST": "no"}, "CASSANDRA_CHECK_HOST is 'no'; it must be 1 or 0."),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, environment: dict[str, str], sentence: str) -> None:
    run = settings(tmp_path, **environment)
    assert run.returncode
    assert sentence in run.stderr
    assert "Traceback" not in run.stderr
