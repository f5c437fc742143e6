"""``./dev manage`` and ``./dev admin``: Django's commands with the addresses and secrets of the running system."""

from __future__ import annotations

import os
from collections.abc import Iterable

from devtools import bootstrap, cassandra, environment, record
from devtools.errors import DevError
from devtools.paths import REPO, VENV_PYTHON, DataFolder


def manage(arguments: list[str]) -> int:
    """Become ``manage.py ARGUMENTS`` for the system that runs from this checkout (or ``--data DIR``, given first)."""
    explicit = None
    if arguments[:1] == ["--data"] and len(arguments) > 1:
        explicit, arguments = arguments[1], arguments[2:]
    data = record.find(explicit)
    state = record.state(data)
    if not state:
        raise DevError(f"nothing runs (data folder {data.root}); start it with ./dev up{record.words(data)}")
    urls = {f"{name.upper()}_URL": url for name, url in state["urls"].items()}
    bootstrap.ensure(development=False)
    os.chdir(REPO)
    env = environment.application(
        data, urls=urls, overrides={**state.get("log", {}), **state.get("media", {}), **state.get("push", {})}
    )
    os.execve(VENV_PYTHON, [str(VENV_PYTHON), "manage.py", *arguments], env)


def admin(arguments: list[str]) -> int:
    """A way into the admin of a development system: name, password and a code that is good now."""
    options = arguments[:2] if arguments[:1] == ["--data"] else []
    state = record.state(record.find(options[1] if len(options) > 1 else None))
    if state:
        print(f"  {state['http']}/admin/", flush=True)
    return manage([*options, "development_admin", *arguments[len(options) :]])


def nodetool(arguments: list[str]) -> int:
    """Become ``nodetool`` for one node of the running system: ``./dev nodetool cassandra-1 status``."""
    explicit = None
    if arguments[:1] == ["--data"] and len(arguments) > 1:
        explicit, arguments = arguments[1], arguments[2:]
    data = record.find(explicit)
    names = {folder.name.replace("node-", "cassandra-"): folder for folder in data.cassandra.glob("node-*/")}
    if not names:
        raise DevError(f"the data folder {data.root} has no node of Cassandra")
    if arguments and not arguments[0].startswith("cassandra-"):
        arguments = [_one_that_runs(data, names), *arguments]  # most commands say the same on every node
    if len(arguments) < 2 or arguments[0] not in names:
        which = "|".join(sorted(names))  # as people write a choice; of one there is none
        raise DevError(f"say which, and what: ./dev nodetool {which} status", code=2)
    cassandra.become_nodetool(names[arguments[0]], arguments[1:])


def _one_that_runs(data: DataFolder, names: Iterable[str]) -> str:
    """The first of the nodes that is there, or the first."""
    pids = record.state(data).get("processes", {})
    return min(names, key=lambda name: (not pids.get(name), name))
