"""Which process of pytest-xdist runs which tests: all of a file in one, the longest files first.

A file's tests share what its fixtures start, so files stay whole. Files of few long tests would otherwise come last (xdist begins
with those of many tests), and one process would wait for the other's last minutes.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling

#: As ``--durations`` printed them. A long file that is missing here costs some waiting at the end, nothing else.
LONGEST = (
    "tests/devtools/test_up.py",
    "tests/faults/test_trials.py",
    "tests/faults/test_checker.py",
    "tests/faults/test_media.py",
    "tests/api/test_schemathesis.py",
    "tests/faults/test_cluster.py",
    "tests/faults/test_lane_kill.py",
    "tests/clients/test_terminal_pty.py",
    "tests/clients/test_terminal_live_groups.py",
    "tests/contract/test_machine.py",
    "tests/faults/test_kill_gateway.py",
    "tests/faults/test_chaos.py",
    "tests/devtools/test_supervisor.py",
    "tests/bench/test_group_benches.py",
    "tests/faults/test_library.py",
    "tests/faults/test_kill_worker.py",
    "tests/clients/test_terminal_messages.py",
    "tests/contract/test_amendment_machine.py",
)


class ByFile(LoadFileScheduling):
    def _assign_work_unit(self, node: Any) -> None:
        for file in LONGEST:
            if file in self.workqueue:
                self.workqueue.move_to_end(file, last=False)
                break
        super()._assign_work_unit(node)
