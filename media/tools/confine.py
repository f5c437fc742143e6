"""Starts one tool behind walls and says how it ended: :data:`media.tools.sandbox.START`, a process of its own each time.

SPEC is JSON from ``sandbox.py``. Three processes: this one leaves for namespaces and waits; its child is the first process of
the new place and reaps; the child of that puts on limits and walls, and becomes the tool. When one of them ends, so do those
below, also by SIGKILL; when the server ends, or says so by SIGTERM, the first kills and buries the others. How the tool ended
is a line of JSON on the descriptor ``report``. Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import json
import os
import select  # noqa: F401 - loaded while files can still be opened
import signal
import sys

import walls

# What only a checker of types reads costs each tool that is started some 5 ms of a processor.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

NICE = 10  # sockets first
OUT_OF_MEMORY = 77  # how a tool that is written in Python says it
_OOM_SCORE = "600"  # and when memory is gone, tools first


def main(text: str) -> None:
    spec = json.loads(text)
    worker = _worker(spec["worker"]) if spec["worker"] else None
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_OOM_SCORE)
    os.nice(NICE)
    os.umask(0o077)
    try:
        if not spec["namespaces"]:
            walls.give_up_root()
            apart = False
        else:
            apart = walls.separate(spec["private_tmp"])
    except OSError as error:
        _report(spec, {"failed": "private_tmp" if spec["private_tmp"] else "namespaces", "said": str(error)})
        os._exit(1)
    if spec["private_tmp"] and not apart:
        _report(spec, {"failed": "private_tmp", "said": "no namespaces"})
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGCHLD))
    walls.adopt()
    walls.die_with_parent(spec["lifeline"], signal.SIGTERM)
    first = _fork(spec)
    if first == 0:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        walls.die_with_parent(spec["lifeline"])
        _reap(spec, worker, apart)
    with contextlib.suppress(OSError):
        os.setpgid(first, first)  # whoever comes first
    _report(spec, {"group": first})
    _keep(first)


def _keep(first: int) -> NoReturn:
    """Wait for the end of ``first``, or bring it about when told to (SIGTERM: by the server, or because it is gone); then end
    and bury all that is left of its group, or whoever is the first process of this machine would have to."""
    while os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if signal.sigwait((signal.SIGTERM, signal.SIGCHLD)) == signal.SIGTERM:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(first, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(first, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    os._exit(0)


def _worker(path: str) -> Any:
    """The module of a tool that is written in Python, loaded and warm before anything is given up."""
    import importlib.util  # tools that are programs do without

    found = importlib.util.spec_from_file_location("tool", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["tool"] = module
    found.loader.exec_module(module)
    module.warm()
    return module


def _fork(spec: Mapping[str, Any]) -> int:
    try:
        return os.fork()
    except OSError as error:
        _report(spec, {"failed": "fork", "said": str(error)})
        os._exit(1)


def _reap(spec: Mapping[str, Any], worker: Any, apart: bool) -> NoReturn:
    tool = _fork(spec)
    if tool == 0:
        try:
            _become(spec, worker, apart)
        except BaseException as error:
            _report(spec, {"failed": "start", "said": f"{type(error).__name__}: {error}"[:300]})
        os._exit(127)
    while True:  # the first process of a namespace is everybody's parent
        ended, status, usage = os.wait4(-1, 0)
        if ended == tool:
            break
    how: dict[str, object] = {"cpu_s": usage.ru_utime + usage.ru_stime, "rss_bytes": usage.ru_maxrss * 1024}
    if os.WIFSIGNALED(status):
        how["signal"] = os.WTERMSIG(status)
    else:
        how["exit"] = os.WEXITSTATUS(status)
    _report(spec, how)
    os._exit(0)


def _become(spec: Mapping[str, Any], worker: Any, apart: bool) -> None:
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):  # Python ignores them, and a new program would go on doing so
        signal.signal(number, signal.SIG_DFL)
    walls.drop_capabilities()
    walls.die_with_parent(spec["lifeline"])
    how = (
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
    )  # an earlier tool may have left something
    outputs = [os.open(name, how, 0o600) for name in spec["outputs"]]
    os.close(spec["lifeline"])
    os.set_inheritable(spec["report"], False)
    walls.no_new_privileges()
    standing = ["namespaces"] if apart else []
    if spec["landlock"] and walls.landlock(spec["read"], spec["write"], spec["execute"], spec["remove"]):
        standing.append("landlock")
    limits = dict(spec["limits"])
    if not apart:
        limits.pop(
            "processes", None
        )  # counted for the user on the whole machine, the server's own threads among them
    walls.bound(limits)
    if spec["seccomp"] and walls.seccomp(
        spec["calls"], children=spec["children"], local_sockets=spec["local_sockets"], start=worker is None
    ):
        standing.append("seccomp")
    _report(spec, {"walls": standing})
    if worker is None:
        os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - what all this is for
    os.close(spec["report"])
    try:
        code = worker.main(spec["argv"], outputs)
    except MemoryError:
        code = OUT_OF_MEMORY
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}"[:300].encode())
        code = 1
    os._exit(code)


def _report(spec: Mapping[str, Any], how: Mapping[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left to be told
        os.write(spec["report"], json.dumps(how).encode() + b"\n")
