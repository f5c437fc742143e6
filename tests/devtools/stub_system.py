"""Run by tests in a process of its own: the real supervisor and servers, with stand-ins for gateways and worker.

``python -m tests.devtools.stub_system DATA PORT``. The "worker" forks two children like Celery's pool does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from devtools.paths import DataFolder
from devtools.processes import Spec
from devtools.stack import Stack
from devtools.supervisor import Supervisor

_SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
_POOL = "import os, time; [os.fork() or time.sleep(600) for _ in range(2)]; print('ready', flush=True); time.sleep(600)"


def main() -> None:
    data = DataFolder(Path(sys.argv[1]))
    stack = Stack(data, port=int(sys.argv[2]), gateways=0, worker=False, beat=False, caller=dict(os.environ))
    for name, code in (("gateway-1", _SLEEP), ("worker-1", _POOL)):
        stack.add(
            Spec(
                name=name,
                argv=[sys.executable, "-c", code],
                env=stack.env,
                cwd=data.root,
                log=data.logs / f"{name}.log",
                ready=lambda child: "ready" in child.output(),
                stop_timeout=2,
            )
        )
    stack.migrate = lambda: None  # type: ignore[method-assign]  # this system has no tables
    Supervisor(
        stack,
        say=lambda text: print(text, flush=True),
        on_ready=lambda: print("ready", flush=True),
        note=False,
    ).run()


if __name__ == "__main__":
    main()
