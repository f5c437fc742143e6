"""What a tool's process gives up before it meets a stranger's file. Runs in the child only; imports nothing of the project.

Three walls, each good on its own, so that one that a kernel or a container does not have leaves two: Landlock (which files,
no TCP), seccomp (which system calls: no sockets, no other process), namespaces (no network device, no other process to see).
Numbers are those of linux/landlock.h, linux/seccomp.h, linux/sched.h and asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import struct

TYPE_CHECKING = False  # what only a checker of types reads takes time at each start
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NOBODY = 65_534
_libc = ctypes.CDLL(None, use_errno=True)

_NEW_USER, _NEW_NET, _NEW_PID, _NEW_IPC, _NEW_UTS = 0x10000000, 0x40000000, 0x20000000, 0x08000000, 0x04000000
_NEW_MOUNTS, _PRIVATE, _BIND = 0x00020000, 0x44000, 0x1000
_SET_DUMPABLE, _SET_NO_NEW_PRIVS, _SET_SECCOMP, _DEATH_SIGNAL = 4, 38, 22, 1  # prctl(2)

#: Which system calls a tool may not make, as (x86-64, arm64); None where the machine has none of that name.
REFUSED_CALLS: Mapping[str, tuple[int | None, int | None]] = {
    # Ways out: rings carry sockets too, and memory files are bound by no one.
    "io_uring_setup": (425, 425), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    # Other processes of the same user.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "kcmp": (312, 272), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "process_madvise": (440, 440), "process_mrelease": (448, 448), "setpriority": (141, 140),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118), "ioprio_set": (251, 30),
    # What belongs to files of the same user, which Landlock does not look after.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "removexattrat": (466, 466), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88),
    # Out of the group that is killed as a whole.
    "setsid": (112, 157), "setpgid": (109, 154),
    # Little-used parts of the kernel.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "personality": (135, 92), "syslog": (103, 116),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "modify_ldt": (154, None), "fanotify_init": (300, 262), "lookup_dcookie": (212, 18),
}  # fmt: skip
_SOCKET, _CLONE, _CLONE3, _TGKILL, _PRLIMIT = (41, 198), (56, 220), (435, 435), (234, 131), (302, 261)
_SOCKETPAIR, _PRCTL, _FCNTL = (53, 199), (157, 167), (72, 25)
#: Whom a descriptor's news go to, and as which signal: another way to kill. And who hears of changes in a folder.
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_NOTIFY = 8, 10, 15, 1_026
_FORKS, _EXECS = ((57, None), (58, None)), ((59, 221), (322, 281))
#: seccomp's name of the machine, and the place in the pairs above.
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_ALLOW, _EPERM, _ENOSYS, _KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_X32 = 0x40000000  # the third dialect of x86-64, with other numbers for the same calls
_CLONE_THREAD, _CLONE_NEW = 0x00010000, 0x7E020000
_UNIX = 1

_READ_FILE, _READ_DIR, _EXECUTE, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 0, 1 << 1
_MAKE_DIR, _MAKE_REG, _TRUNCATE = 1 << 7, 1 << 8, 1 << 14
_REMOVE_DIR, _REMOVE_FILE, _MAKE_SOCKET, _REFER = 1 << 4, 1 << 5, 1 << 9, 1 << 13


def separate(private_tmp: bool = False) -> bool:
    """Give up root, then leave for namespaces of our own; False if the kernel does not let us. With ``private_tmp`` the folder
    that we are in is also ``/tmp`` there. Raises ``OSError`` when we are half there: nothing can be done in a namespace without
    names for users."""
    give_up_root()
    user, group = os.geteuid(), os.getegid()
    mounts = _NEW_MOUNTS if private_tmp else 0
    if _libc.unshare(_NEW_USER | _NEW_NET | _NEW_PID | _NEW_IPC | _NEW_UTS | mounts) != 0:
        return False
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {user} 1"),
        ("gid_map", f"{NOBODY} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    if private_tmp:
        for source, target, flags in ((None, b"/", _PRIVATE), (b".", b"/tmp", _BIND)):
            if _libc.mount(source, target, None, flags, None) != 0:
                raise OSError(ctypes.get_errno(), "mount")
        os.chdir("/tmp")  # noqa: S108
    return True


def give_up_root() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        _libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self belongs to root


def adopt() -> None:
    """Be the parent of whatever below us loses its own (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    _libc.prctl(36, 1, 0, 0, 0)


def die_with_parent(lifeline: int, by: int = signal.SIGKILL) -> None:
    """The signal ``by`` when the parent ends, and an end now if the one who holds ``lifeline``'s other end is gone already. After
    the last change of user: the kernel forgets it then."""
    _libc.prctl(_DEATH_SIGNAL, by, 0, 0, 0)
    watch = select.poll()
    watch.register(lifeline, 0)
    if watch.poll(0):
        os._exit(1)


def drop_capabilities() -> None:
    """Those of a namespace of our own; a new program would lose them, a function does not."""
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    _libc.capset(header, ctypes.create_string_buffer(24))


def bound(limits: Mapping[str, int]) -> None:
    """Limits of this process, soft and hard alike: at a soft one of processor time ffmpeg ends its file and calls it done."""
    names = {
        "cpu_s": resource.RLIMIT_CPU,
        "memory_bytes": resource.RLIMIT_AS,
        "file_bytes": resource.RLIMIT_FSIZE,
        "files": resource.RLIMIT_NOFILE,
        "processes": resource.RLIMIT_NPROC,
    }
    for name, amount in limits.items():
        resource.setrlimit(names[name], (amount, amount))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def no_new_privileges() -> None:
    if _libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")


def landlock_version() -> int:
    """0 where the kernel has none."""
    return max(0, _libc.syscall(444, None, 0, 1))


def landlock(read: Iterable[str], write: Iterable[str], execute: Iterable[str], remove: bool = False) -> bool:
    """Nothing but these is opened from here on: folders and files to read, folders to write new files in, programs to start.
    Paths that are not there are passed over. False where the kernel has no Landlock."""
    version = landlock_version()
    if version < 1:
        return False
    files = (1 << 13) - 1
    if version >= 2:
        files |= _REFER
    if version >= 3:
        files |= _TRUNCATE
    if version >= 5:
        files |= 1 << 15
    attributes = struct.pack("QQQ", files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _libc.syscall(444, ctypes.create_string_buffer(attributes), size, 0)
    if ruleset < 0:
        return False
    reading = _READ_FILE | _READ_DIR
    writing = reading | _WRITE_FILE | _MAKE_REG | _TRUNCATE
    if remove:
        writing |= _MAKE_DIR | _REMOVE_DIR | _REMOVE_FILE | _MAKE_SOCKET | _REFER
    for paths, rights in ((read, reading), (write, writing), (execute, reading | _EXECUTE)):
        for path in paths:
            _allow(ruleset, path, rights & files)
    done = _libc.syscall(446, ruleset, 0)
    os.close(ruleset)
    return bool(done == 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= _READ_FILE | _WRITE_FILE | _EXECUTE | _TRUNCATE
    _libc.syscall(445, ruleset, 1, ctypes.create_string_buffer(struct.pack("=Qi", rights, place)), 0)
    os.close(place)


def seccomp(
    only: Iterable[int] | None = None,
    *,
    children: bool = False,
    local_sockets: bool = False,
    start: bool = True,
) -> bool:
    """Refuse system calls from here on: all but ``only``, or else :data:`REFUSED_CALLS`, sockets (``local_sockets``: but for
    those inside the machine), new processes unless ``children``, and new programs unless ``start``. False where the machine's
    numbers are not known or the kernel does not filter."""
    if os.uname().machine not in MACHINES:
        return False
    machine, place = MACHINES[os.uname().machine]
    load, equal, above, bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    # A step: code, how far to jump when it holds and when not, value (linux/filter.h).
    steps = [(load, 0, 0, 4), (equal, 1, 0, machine), (answer, 0, 0, _KILL), (load, 0, 0, 0)]
    if place == 0:
        steps += [(above, 0, 1, _X32), (answer, 0, 0, _KILL)]

    def refuse(pair: tuple[int | None, int | None], how: int = _EPERM) -> None:
        number = pair[place]
        if number is not None:
            steps.extend([(equal, 0, 1, number), (answer, 0, 0, how)])

    def judge(pair: tuple[int, int], argument: int, *test: tuple[int, int, int, int]) -> None:
        """``test``: steps over the low half of an argument; falling out of it allows."""
        inner = [(load, 0, 0, 16 + 8 * argument), *test, (answer, 0, 0, _ALLOW)]
        steps.extend([(equal, 0, len(inner), pair[place]), *inner])

    refusals = [(equal, 0, 1, command) for command in (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_NOTIFY)]
    judge(_FCNTL, 1, *(step for test in refusals for step in (test, (answer, 0, 0, _EPERM))))
    if only is not None:
        for call in only:
            steps += [(equal, 0, 1, call), (answer, 0, 0, _ALLOW)]
        return _install([*steps, (answer, 0, 0, _EPERM)])
    for pair in REFUSED_CALLS.values():
        refuse(pair)
    judge(_PRCTL, 0, (equal, 0, 1, _DEATH_SIGNAL), (answer, 0, 0, _EPERM))
    if local_sockets:
        judge(_SOCKET, 0, (equal, 1, 0, _UNIX), (answer, 0, 0, _EPERM))
    else:
        refuse(_SOCKET)
        refuse(_SOCKETPAIR)
    refuse(_CLONE3, _ENOSYS)  # its flags are out of sight; the C library then calls clone
    if children:
        judge(_CLONE, 0, (bits, 0, 1, _CLONE_NEW), (answer, 0, 0, _EPERM))
    else:
        judge(_CLONE, 0, (bits, 1, 0, _CLONE_THREAD), (answer, 0, 0, _EPERM))
        for pair in _FORKS:
            refuse(pair)
    if not start:
        for pair in _EXECS:
            refuse(pair)
    if not children:
        judge(_TGKILL, 0, (equal, 1, 0, os.getpid()), (answer, 0, 0, _EPERM))  # abort() is its own end
    judge(_PRLIMIT, 0, (equal, 1, 0, 0), (answer, 0, 0, _EPERM))
    return _install([*steps, (answer, 0, 0, _ALLOW)])


def _install(steps: list[tuple[int, int, int, int]]) -> bool:
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    described = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(program)))
    return bool(_libc.prctl(_SET_SECCOMP, 2, described, 0, 0) == 0)
