"""What a tool that was taken over can reach: nothing, by each wall alone where one is enough."""

from __future__ import annotations

import os
import platform
import subprocess

import pytest

from media.tools import sandbox, walls
from media.tools.folders import Folder
from media.tools.reasons import Reason
from tests.media.tools.boxed import SMALL, bash, refused, server, until, without

WALLS = ("namespaces", "landlock", "seccomp")


def test_every_wall_stands_here(folder: Folder) -> None:
    """Where one is missing, it is this machine's kernel or its container; the tests below say what the others are worth."""
    assert bash(folder, ":").walls == frozenset(WALLS)
    assert walls.landlock_version() >= 1


def test_a_wall_that_is_missing_is_told_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sandbox, "_told", set())
    bash(folder, ":")
    assert caplog.messages == []
    without(monkeypatch, "namespaces")
    for _ in range(2):
        bash(folder, ":")
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "media tools run without namespaces"
    ]


CONNECT = "exec 3<>/dev/tcp/127.0.0.1/{port} && echo out >&3"


@pytest.mark.parametrize("standing", [WALLS, *((wall,) for wall in WALLS)], ids="-".join)
def test_no_wall_lets_a_tool_connect(
    folder: Folder, standing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if standing == ("landlock",) and walls.landlock_version() < 4:
        pytest.skip("this kernel's Landlock knows files only")
    without(monkeypatch, *set(WALLS) - set(standing))
    with server() as (port, came):
        assert refused(folder, CONNECT.format(port=port)).reason is Reason.UNREADABLE
        assert came == []


def test_without_walls_it_connects(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, *WALLS)
    with server() as (port, came):
        bash(folder, CONNECT.format(port=port))
        until(lambda: came, "a connection")
    assert came == [b"out\n"]


def test_only_landlock_keeps_files_from_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    read = "read x < /etc/passwd && echo $x"
    assert "denied" in refused(folder, read).said
    assert "denied" in refused(folder, "echo x > ../out").said
    assert "denied" in refused(folder, "echo /proc/1/*; : < /proc/1/environ").said
    without(monkeypatch, "landlock")
    assert b"root" in bash(folder, read).stdout


@pytest.mark.parametrize("missing", ["namespaces", "landlock"])
def test_other_processes_are_out_of_reach(
    folder: Folder, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, missing)
    with subprocess.Popen(["sleep", "600"], user=None if os.geteuid() else walls.NOBODY) as other:
        try:
            assert "not permitted" in refused(folder, f"kill -9 {other.pid}").said
            assert "not permitted" in refused(folder, f"kill -9 {os.getpid()}").said
            assert other.poll() is None
        finally:
            other.kill()


def test_no_other_program_is_started(folder: Folder) -> None:
    assert "ermi" in refused(folder, "exec /usr/bin/id").said
    assert "ermi" in refused(folder, "(:)").said
    assert bash(folder, "exec /usr/bin/id -u", execute=("/usr/bin/id",)).stdout == b"65534\n"


PERL = """use Fcntl; sub say_of { print "$_[0] ", ($_[1] ? "done" : $!), "\\n" }
say_of("chmod", chmod 0777, "own");
say_of("utime", utime 1, 1, "own");
say_of("owner", fcntl(STDOUT, 8, {pid}));
say_of("signal", fcntl(STDOUT, 10, 9));
say_of("flags", fcntl(STDOUT, F_GETFL, 0) || 1);
say_of("kill", kill 9, {pid});
say_of("folder", mkdir "inner");
"""


@pytest.mark.parametrize(
    "missing", [(), ("namespaces",), ("namespaces", "landlock")], ids=["all", "no namespaces", "seccomp"]
)
def test_small_ways_to_do_harm(
    folder: Folder, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is not root has the user of its tools: files of its own, and its life, are theirs to end."""
    without(monkeypatch, *missing)

    def said() -> list[str]:
        bash(folder, ": > own")
        code = PERL.replace("{pid}", str(os.getpid() if missing else 1))
        done = sandbox.run(folder, sandbox.Tool(program="perl"), ["-e", code], bounds=SMALL)
        return done.stdout.decode().splitlines()

    no = "Operation not permitted"
    folders = "folder done" if "landlock" in missing else "folder Permission denied"
    assert said() == [
        f"chmod {no}",
        f"utime {no}",
        f"owner {no}",
        f"signal {no}",
        "flags done",
        f"kill {no}",
        folders,
    ]


@pytest.mark.parametrize("missing", [(), ("namespaces",)], ids=["all", "no namespaces"])
def test_its_death_with_us_is_not_taken_back(
    folder: Folder, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *missing)
    prctl = {"x86_64": 157, "aarch64": 167}[platform.machine()]
    code = f'print syscall({prctl}, 1, 0, 0, 0, 0) == 0 ? "taken back" : $!'
    assert (
        sandbox.run(folder, sandbox.Tool(program="perl"), ["-e", code], bounds=SMALL).stdout
        == b"Operation not permitted"
    )
