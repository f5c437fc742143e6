"""CPU of a process by its threads' names: what the fan-out worker spends on passes, and what on Celery."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from bench.cpu import Gone, threads
from whatsapp.infra.threads import shown


def _spin() -> None:
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        pass


def _cpu_of(name: str, *, named: bool) -> float:
    spun, leave = threading.Event(), threading.Event()

    def run() -> None:
        _spin()
        spun.set()
        leave.wait(10)

    thread = threading.Thread(target=shown(run) if named else run, name=name)
    thread.start()
    try:
        assert spun.wait(10)
        return threads(os.getpid()).get(name[:15], 0.0)
    finally:
        leave.set()
        thread.join()


def test_a_thread_is_seen_by_its_name() -> None:
    assert _cpu_of("bench-spinner", named=True) >= 0.09


def test_a_long_name_is_cut_as_the_kernel_cuts_it() -> None:
    assert _cpu_of("bench-spinner-with-a-long-name", named=True) >= 0.09


def test_without_its_name_it_is_part_of_who_made_it() -> None:
    assert _cpu_of("bench-nameless", named=False) == 0.0


def test_a_process_that_ended_is_no_zero() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(Gone):
        threads(process.pid)
