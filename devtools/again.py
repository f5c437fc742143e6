"""Tests that fail are run once more, alone: a busy machine is told apart from a fault, and both are named."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from devtools.paths import REPO, VENV_PYTHON

#: What pytest returns when tests failed, and nothing worse.
_FAILED = 1


def run(arguments: Sequence[str], env: Mapping[str, str], limit: int, where: Path = REPO) -> int:
    """pytest with ``arguments`` in a folder; its exit code. If at most ``limit`` tests failed (0: never), they run once more,
    one after the other with nothing beside them, and that is what counts. More than that are no accident of the machine."""
    with tempfile.TemporaryDirectory() as folder:
        code = _pytest([*arguments, "-o", f"cache_dir={folder}"] if limit else arguments, env, where)
        failed = _failed(Path(folder)) if limit and code == _FAILED else []
    if not 0 < len(failed) <= limit:
        return code
    print(
        "\nThese failed. They run once more, with nothing beside them. One that passes now is not sound either: it depends on "
        "how busy the machine is, or the code does.",
        *failed,
        sep="\n    ",
        flush=True,
    )
    return _pytest(["-n", "0", *failed], env, where)


def _pytest(arguments: Sequence[str], env: Mapping[str, str], where: Path) -> int:
    return subprocess.run(
        [VENV_PYTHON, "-m", "pytest", *arguments], cwd=where, env=env, check=False
    ).returncode


def _failed(cache: Path) -> list[str]:
    """The ids of the tests that failed, as pytest keeps them."""
    try:
        return sorted(json.loads((cache / "v" / "cache" / "lastfailed").read_text()))
    except FileNotFoundError:
        return []
