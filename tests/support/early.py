"""Chooses the test servers' addresses before Django reads its settings (loaded by ``-p`` in pyproject.toml).

The servers themselves start when the first fixture asks for them, so that tests which need none do not wait.

With pytest-xdist every worker process loads this too: each has a folder, servers and ports of its own. The process that gives
out the tests has a folder, in which theirs are, and nothing else.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from devtools import ports
from devtools.paths import REPO

# Whatever the machine says of bytecode: hundreds of processes start in a run, and to compile our code is a third of a start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(REPO / ".cache" / "pycache")
sys.dont_write_bytecode = False

#: ``gw0``, ``gw1`` …, or nothing in a process that runs all tests by itself.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
_PARENT = "WHATSAPP_TEST_FOLDER"


def _folder() -> Path:
    if WORKER and (parent := os.environ.get(_PARENT)):
        folder = Path(tempfile.mkdtemp(prefix=f"{WORKER}-", dir=parent))
    else:
        folder = Path(tempfile.mkdtemp(prefix="whatsapp-test-"))
        os.environ[_PARENT] = str(folder)
    folder.chmod(0o711)  # PostgreSQL may run as another user
    return folder


def folder(name: str) -> Path:
    """A new folder in FOLDER for what one fixture starts: whatever else runs in this process, its name is used once."""
    made = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=FOLDER))
    made.chmod(0o711)  # PostgreSQL may run as another user
    return made


#: Data folders and logs of this process's servers; removed at its end, kept if WHATSAPP_KEEP is set.
FOLDER = _folder()
if WORKER:
    # Two that choose at random from the same ports sometimes choose the same one, and gateways would then share it in silence.
    share = ports.share(int(WORKER.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ[ports.VARIABLE] = f"{share.start}-{share.stop - 1}"
SECRET = secrets.token_hex(12)
POSTGRES_PORT = ports.choose()
VALKEY_PORT = ports.choose({POSTGRES_PORT})
DATABASE = "whatsapp"

os.environ.update(
    {
        "WHATSAPP_ENV": "test",
        "DJANGO_SETTINGS_MODULE": "whatsapp.settings",
        "WHATSAPP_DATA": str(FOLDER / "data"),
        "DATABASE_URL": f"postgresql://whatsapp:{SECRET}@127.0.0.1:{POSTGRES_PORT}/{DATABASE}",
        "HOT_URL": f"redis://:{SECRET}@127.0.0.1:{VALKEY_PORT}/0",
        "BROKER_URL": f"redis://:{SECRET}@127.0.0.1:{VALKEY_PORT}/1",
        "CACHE_URL": f"redis://:{SECRET}@127.0.0.1:{VALKEY_PORT}/2",
    }
)
for name in ("REPLICA_URL", "DATABASE_POOLER", "PUSH_APPS"):  # the developer's own system may have them
    os.environ.pop(name, None)
(FOLDER / "data").mkdir()


def _clean(owner: int = os.getpid()) -> None:
    if os.getpid() == owner and not os.environ.get("WHATSAPP_KEEP"):
        shutil.rmtree(FOLDER, ignore_errors=True)


atexit.register(_clean)
