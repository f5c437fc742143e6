"""CPU is counted whoever used it and whether or not it still lives."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.cpu import Gone, Meter

# 0.2 s each in: a thread that ended, a child that ended, a child that lives, the main thread.
_BUSY = """
import subprocess, sys, threading, time
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
print("started", flush=True)
sys.stdin.readline()
thread = threading.Thread(target=spin, args=(0.2,))
thread.start()
thread.join()
code = "import time\\nwhile time.process_time() < 0.2: pass\\nprint('spun', flush=True)"
subprocess.run([sys.executable, "-S", "-c", code], stdout=subprocess.DEVNULL)
child = subprocess.Popen([sys.executable, "-S", "-c", code + "\\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
spin(0.2)
print("done", flush=True)
sys.stdin.readline()
child.communicate(b"\\n")
"""


def test_ended_threads_and_children_are_counted() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", _BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        meter = Meter({"busy": [process.pid]})
        before = meter.read()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        used = meter.read().since(before)["busy"]
        process.stdin.write("\n")
    assert 0.75 <= used <= 1.3


def test_a_process_that_ended_is_no_zero() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    with pytest.raises(Gone):
        Meter({"gone": [process.pid]}).read()
