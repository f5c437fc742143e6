"""Large objects pass through a process that stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.paths import REPO
from tests.support.s3 import S3

#: Bytes of the object, and by how much the process may grow: some parts and what the libraries keep.
SIZE = 13 * 16 * 2**20
MOST_GROWTH = 120 * 2**20

_PROGRAM = r"""
import hashlib, json, re, sys
from pathlib import Path
import django
django.setup()
from media.storage import storage

def grown():  # not getrusage, which remembers the parent's
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024

def noise(number):
    return hashlib.shake_128(str(number).encode()).digest(2**20)

folder, how = Path(sys.argv[1]), sys.argv[2]
size = int(sys.argv[3])
here = storage()
here.put("incoming/small", b"x", "text/plain")
here.read("incoming/small")
digest = hashlib.sha256()
with (folder / "big").open("wb") as file:
    for number in range(size // 2**20):
        digest.update(noise(number))
        file.write(noise(number))
before = grown()
here.put("incoming/big", folder / "big", "video/mp4")
put = grown() - before
if how == "whole":
    found = hashlib.sha256(here.read("incoming/big")).hexdigest(), size
else:
    found = here.sha256("incoming/big")
    here.download("incoming/big", folder / "copy")
    assert (folder / "copy").stat().st_size == size
    here.copy("incoming/big", "incoming/again")
print(json.dumps({"same": list(found) == [digest.hexdigest(), size], "put": put, "grown": grown() - before}))
"""


def run(folder: Path, variables: dict[str, str], how: str) -> dict[str, int]:
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("S3_")},
        **variables,
        "NO_PROXY": "127.0.0.1",
        "WHATSAPP_DATA": str(folder),
        "PYTHONPATH": str(REPO),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder), how, str(SIZE)],
        env=env, capture_output=True, text=True, check=False, cwd=REPO,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.needs_s3)])
def variables(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "local":
        return {}
    server: S3 = request.getfixturevalue("s3_server")
    return {**server.variables(), "S3_PREFIX": server.new_prefix()}


@pytest.mark.slow
def test_large_objects_do_not_make_a_process_large(tmp_path: Path, variables: dict[str, str]) -> None:
    found = run(tmp_path, variables, "streamed")
    assert found["same"]
    assert found["grown"] < MOST_GROWTH, found


@pytest.mark.slow
def test_twin_read_as_a_whole_they_do(tmp_path: Path, variables: dict[str, str]) -> None:
    found = run(tmp_path, variables, "whole")
    assert found["same"]
    assert found["grown"] > MOST_GROWTH, found
