"""One run of a tool: its bounds, how its end is told, and that nothing is left of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from media.tools import sandbox
from media.tools.folders import Folder
from media.tools.folders import folder as new_folder
from media.tools.reasons import Busy, Late, Missing, Reason, Refused
from tests.media.tools.boxed import SMALL, bash, processes, refused, until, without


def test_a_tool_works_in_its_folder_on_what_it_is_given(folder: Folder, parent: Path) -> None:
    source = parent / "given"
    try:
        source.write_text("hello\n")
        source.chmod(0o600)
        name = folder.take(source, ".txt")
        done = bash(folder, 'read x < "$1"; echo "$x you"; echo made > out; echo aside >&2', inputs=[name])
        assert done.stdout == b"hello you\n"
        assert done.said == "aside\n"
        out = folder.made("out")
        assert out is not None
        assert out.read_text() == "made\n"
        assert folder.made("other") is None
        assert "denied" in refused(folder, 'echo x > "$1"', inputs=[name]).said
        assert source.read_text() == "hello\n"
        assert done.cpu_s < SMALL.cpu_s
        assert done.rss_bytes > 0
    finally:
        source.unlink()


def test_the_environment_is_empty(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hidden")
    said = bash(folder, "declare -x").stdout
    assert b"hidden" not in said
    assert b"SECRET" not in said
    assert b"LANG" in said


def test_folders_in_folders_in_folders(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than functions may call each other, or a name may be long."""
    without(monkeypatch, "landlock")
    code = "for (1 .. 5000) { mkdir 'a' x 50; chdir 'a' x 50 } while (1) {}"
    with new_folder(parent) as folder:
        with pytest.raises(Refused) as caught:
            sandbox.run(folder, sandbox.Tool(program="perl"), ["-e", code], bounds=replace(SMALL, cpu_s=60))
        assert caught.value.reason is Reason.RESOURCES
    assert list(parent.iterdir()) == []


def test_bound_processor_time(folder: Folder) -> None:
    spin = "for ((i = 0; i < {}; i++)); do :; done"
    assert refused(folder, "while :; do :; done").reason is Reason.RESOURCES
    assert refused(folder, "trap '' XCPU; while :; do :; done").reason is Reason.RESOURCES, (
        "no soft limit to catch"
    )
    bash(folder, spin.format(1_000))


MEMORY = "x=aaaaaaaaaaaaaaaa; for ((i = 0; i < 22; i++)); do x=$x$x; done"  # 64 MiB, several times


def test_bound_memory(folder: Folder) -> None:
    assert (
        refused(folder, MEMORY, replace(SMALL, memory_bytes=64 * 2**20, cpu_s=20)).reason is Reason.RESOURCES
    )
    bash(folder, MEMORY, replace(SMALL, memory_bytes=2**30, cpu_s=20))


WRITE = 'printf -v x %65536s; for ((i = 0; i < {}; i++)); do printf %s "$x" >> {}; done'


def test_bound_one_file(folder: Folder) -> None:
    write = WRITE.format(32, "out")
    assert refused(folder, write).reason is Reason.RESOURCES
    made = folder.made("out")
    assert made is not None
    assert made.stat().st_size <= SMALL.output_bytes
    with new_folder(folder.path.parent) as other:
        bash(other, write, replace(SMALL, output_bytes=2**22))


def test_bound_all_files_together(folder: Folder) -> None:
    """Each of them is small enough."""
    write = WRITE.format("100000000", "out$((i % 64))") + "; :"
    assert refused(folder, write, replace(SMALL, cpu_s=60, output_bytes=2**24)).reason is Reason.RESOURCES
    with new_folder(folder.path.parent) as other:
        bash(
            other,
            WRITE.format("64", "out$((i % 64))"),
            replace(SMALL, output_bytes=2**24),
        )


def test_bound_standard_output(folder: Folder) -> None:
    forever = "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done"
    assert refused(folder, forever, replace(SMALL, cpu_s=60)).reason is Reason.RESOURCES
    without_end = "while :; do echo -n aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done"
    assert (
        refused(folder, without_end, replace(SMALL, cpu_s=60), lines=lambda line: None).reason
        is Reason.RESOURCES
    )
    bash(folder, "for ((i = 0; i < 100; i++)); do echo a; done")


FORK = """for (1 .. 40) {
    my $child = fork;
    if (!defined $child) { print "no more: $!\\n"; exit }
    if (!$child) { sleep 600; exit }
}
print "all\\n" """


def test_bound_processes(folder: Folder) -> None:
    def fork(processes: int, *, children: bool = True) -> bytes:
        tool = sandbox.Tool(program="perl", children=children)
        return sandbox.run(folder, tool, ["-e", FORK], bounds=replace(SMALL, processes=processes)).stdout

    assert fork(64, children=False) == b"no more: Operation not permitted\n"
    assert fork(20) == b"no more: Resource temporarily unavailable\n"
    assert fork(64) == b"all\n"
    until(lambda: not processes(FORK), "no child")


def test_what_is_not_done_in_time_is_late(folder: Folder) -> None:
    with pytest.raises(Late):
        sandbox.run(folder, sandbox.Tool(program="sleep"), ["600"], bounds=replace(SMALL, deadline_s=0.2))
    sandbox.run(folder, sandbox.Tool(program="sleep"), ["0.3"], bounds=SMALL)


SLEEP = {"execute": ("/usr/bin/sleep",), "environment": {"PATH": "/usr/bin"}}


def test_what_waits_for_itself_is_refused(folder: Folder) -> None:
    few = replace(SMALL, idle_s=1)
    with pytest.raises(Refused) as caught:
        sandbox.run(folder, sandbox.Tool(program="sleep"), ["600"], bounds=few)
    assert caught.value.reason is Reason.RESOURCES
    assert refused(folder, "trap '' TERM INT; sleep 600; :", few, children=True, **SLEEP).said == "it hangs"
    works = "for ((i = 0; i < 400; i++)); do for ((j = 0; j < 2000; j++)); do :; done; done"
    bash(folder, works, replace(few, cpu_s=60))


def test_what_somebody_has_stopped_is_late(folder: Folder) -> None:
    def stop(line: str) -> None:
        for found in until(lambda: processes(f"x 602.{os.getpid()}"), "the tool"):
            if "confine" not in found:
                os.kill(int(found.split()[0]), signal.SIGSTOP)

    with pytest.raises(Late):
        code = f"echo now; exec -a x sleep 602.{os.getpid()}"
        bash(folder, code, replace(SMALL, idle_s=1, deadline_s=4), lines=stop, **SLEEP)


@pytest.mark.parametrize("missing", [(), ("namespaces",)], ids=["all walls", "no namespaces"])
def test_children_go_with_their_tool(
    folder: Folder, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *missing)
    mark = f"600.{os.getpid()}"
    bash(
        folder,
        f"sleep {mark} & setsid sleep {mark} & exec >&- 2>&-; exit 0",
        children=True,
        execute=("/usr/bin/sleep", "/usr/bin/setsid"),
        environment={"PATH": "/usr/bin"},
    )
    until(lambda: not processes(mark), "no child")
    sleeps: list[int] = []

    def seen(line: str) -> None:
        until(lambda: len(processes(mark)) >= 2, "two children")
        sleeps.append(len(processes(mark)))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        bash(
            folder,
            f"sleep {mark} & sleep {mark} & echo now; wait",
            children=True,
            execute=("/usr/bin/sleep",),
            environment={"PATH": "/usr/bin"},
            lines=seen,
        )
    assert sleeps
    until(lambda: not processes(mark), "no child")


def test_lines_come_while_it_runs(folder: Folder) -> None:
    came: list[str] = []
    bash(folder, "echo one; echo two; echo -n three", lines=came.append)
    assert came == ["one", "two"]


def test_a_crash_and_a_failure_are_the_files_doing(folder: Folder) -> None:
    assert refused(folder, "echo because >&2; exit 3").said == "because\n"
    assert refused(folder, "exit 3").reason is Reason.UNREADABLE
    worker = folder.path / "worker.py"
    worker.write_text("import ctypes\ndef warm(): pass\ndef main(arguments, outputs): ctypes.string_at(8)\n")
    name = folder.take(worker)
    with pytest.raises(Refused) as caught:
        sandbox.run(folder, sandbox.Tool(worker=worker), [], bounds=SMALL, inputs=[name])
    assert caught.value.reason is Reason.UNREADABLE


def test_the_machines_doing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Missing, match="nosuchtool"):
        sandbox.run(folder, sandbox.Tool(program="nosuchtool"), [], bounds=SMALL)

    def kill(line: str) -> None:
        for found in processes(f"600.{os.getpid()}"):
            if "confine" not in found:
                os.kill(int(found.split()[0]), signal.SIGKILL)

    with pytest.raises(Busy, match="killed"):
        bash(
            folder,
            f"echo now; exec -a x sleep 600.{os.getpid()}",
            execute=("/usr/bin/sleep",),
            environment={"PATH": "/usr/bin"},
            lines=lambda line: until(lambda: [kill(line)] and not processes(f"x 600.{os.getpid()}"), "dead"),
        )

    def no_process(*arguments: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Busy, match="no process"):
        bash(folder, ":")
    with pytest.raises(Busy, match="no folder"), new_folder(folder.path):
        pass
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_kernel_that_gives_no_names_in_its_namespaces(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_half_apart", [])
    seen: list[bool] = []
    judge = sandbox._Run.judge

    def half(self: sandbox._Run) -> sandbox.Done:
        seen.append(True)
        if len(seen) == 1:
            self.reported[:] = b'{"failed": "namespaces", "said": "uid_map"}\n'
        return judge(self)

    monkeypatch.setattr(sandbox._Run, "judge", half)
    for _ in range(2):
        assert bash(folder, ":").walls == frozenset({"landlock", "seccomp"})
    assert len(seen) == 3


PARENT = """
import sys
from pathlib import Path
from media.tools import folders, sandbox
sandbox._without = set(sys.argv[3:])
with folders.folder(Path(sys.argv[1])) as folder:
    sandbox.run(folder, sandbox.Tool(program="bash", execute=("/usr/bin/sleep",), children=True), ["-c",
        "echo x > out; echo " + str(folder.path) + "; /usr/bin/sleep " + sys.argv[2] + " & exec /usr/bin/sleep " + sys.argv[2]],
        bounds=sandbox.Bounds(), lines=lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("missing", [(), ("namespaces",)], ids=["all walls", "no namespaces"])
def test_kill_9_of_the_parent_leaves_nothing(parent: Path, missing: tuple[str, ...]) -> None:
    mark = f"601.{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(parent), mark, *missing], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        assert path.is_dir()
        until(
            lambda: (
                len([line for line in processes(mark) if "sleep 601" in line and "confine" not in line]) > 1
            ),
            "tools",
        )
        process.kill()
    until(lambda: not path.exists(), "the folder is gone")
    until(lambda: not processes(mark), "the tools are gone")
    until(lambda: not processes(str(parent)), "the remover is gone")


BURIED = """
import ctypes, os, sys
from dataclasses import replace
from pathlib import Path
from media.tools import folders, reasons, sandbox
from tests.media.tools.boxed import SMALL, bash
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # what loses its parent comes to us
sandbox._without = set(sys.argv[2:])
with folders.folder(Path(sys.argv[1])) as folder:
    for code in (":", "exit 3", "while :; do :; done", "kill -9 $$", "(while :; do :; done) & :", "(while :; do :; done) & wait"):
        try:
            bash(folder, code, replace(SMALL, deadline_s=0.5), children=True)
        except (reasons.Refused, reasons.Late):
            pass
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("nobody")
"""


@pytest.mark.parametrize("missing", [(), ("namespaces",)], ids=["all walls", "no namespaces"])
def test_no_zombie_is_left_to_others(parent: Path, missing: tuple[str, ...]) -> None:
    """In a container the first process may be a server, which buries nobody but its own."""
    ended = subprocess.run(
        [sys.executable, "-c", BURIED, str(parent), *missing], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "nobody\n", ended.stderr


@pytest.mark.parametrize("missing", [(), ("namespaces",)], ids=["all walls", "no namespaces"])
def test_a_keeper_that_is_killed_itself(
    folder: Folder, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *missing)
    mark = f"603.{os.getpid()}"

    def kill(line: str) -> None:
        until(lambda: len(processes(f"/usr/bin/sleep {mark}")) > 1, "tools")
        for found in processes("confine"):
            if mark in found:
                with contextlib.suppress(ProcessLookupError):  # it went with the one before
                    os.kill(int(found.split()[0]), signal.SIGKILL)

    with pytest.raises(Busy):
        code = f"echo now; /usr/bin/sleep {mark} & exec /usr/bin/sleep {mark}"
        bash(folder, code, children=True, execute=("/usr/bin/sleep",), lines=kill)
    until(lambda: not processes(mark), "nothing left")
