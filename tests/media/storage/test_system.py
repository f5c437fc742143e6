"""A system whose files are on its S3 server, with its own scanner: ``./dev up --s3 --scanner``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devtools import media_servers
from devtools.errors import DevError
from devtools.paths import REPO, DataFolder

_PROGRAM = """
import json
import django
django.setup()
from devtools.clamd import EICAR
from media.scan import scanner
from media.storage import storage

kept = storage()
kept.put("incoming/x", EICAR, "text/plain")
found = scanner().scan(kept.stream("incoming/x"))
print(json.dumps({"kind": type(kept).__name__, "found": found.kind.value, "keys": [e.key for e in kept.keys("")]}))
"""


@pytest.mark.needs_s3
@pytest.mark.needs_packages
def test_a_system_with_a_bucket_and_a_scanner(own_stack: Callable[..., Any]) -> None:
    system = own_stack(gateways=1, worker=False, s3=True, scanner=True)
    assert {"s3", "clamd"} <= {name for name, pid in system.processes.items() if pid}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=system.env, cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"kind": "S3", "found": "infected", "keys": ["incoming/x"]}


def test_files_are_in_one_place(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    media_servers.check(data, bucket=True, backups=False)
    (tmp_path / "media").mkdir()
    media_servers.check(data, bucket=True, backups=False)
    (tmp_path / "media" / "icon.jpg").write_bytes(b"x")
    with pytest.raises(DevError, match="keeps its files in media/"):
        media_servers.check(data, bucket=True, backups=False)
    media_servers.check(data, bucket=False, backups=True)
    (tmp_path / "s3").mkdir()
    media_servers.check(data, bucket=False, backups=False)
    with pytest.raises(DevError, match="nothing of a bucket"):
        media_servers.check(data, bucket=False, backups=True)


def test_a_folder_remembers_its_bucket_unless_there_is_another(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    plain = {"bucket": False, "scanner": False, "secret": "s", "env": {}}
    assert media_servers.MediaServers(data, **plain, caller={}).variables() == {}
    data.s3.mkdir()
    assert media_servers.MediaServers(data, **plain, caller={}).variables()["S3_BUCKET"] == "media"
    assert media_servers.MediaServers(data, **plain, caller={"S3_BUCKET": "ours"}).variables() == {}
