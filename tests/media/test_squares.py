"""Squares of photos and icons: what makes them is behind walls, within bounds, and after the scanner."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from accounts import squares as port
from accounts.models import Photo
from media import squares
from media.tools import pictures, sandbox
from media.tools.calls import CALLS
from tests.accounts.test_photos import put
from tests.groups.pictures import opened, picture
from tests.media.conftest import Person, assert_problem, sign_in
from tests.media.test_real_parts import EICAR
from tests.support import early
from tests.support.clamd import Clamd
from tests.support.patience import LONG

SIDES = (64, 16)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no fault of a picture's."""
    monkeypatch.setattr(squares, "BOUNDS", replace(squares.BOUNDS, deadline_s=LONG))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "I;16"), ("PNG", "P"), ("WEBP", "RGBA"), ("JPEG", "RGB")]
)
def test_the_largest_picture_that_is_taken(kind: str, mode: str) -> None:
    """Every way through the worker fits into its memory and its time."""
    given = picture(kind, (5_000, 5_000), colour=None, mode=mode)
    made = port.make(given, f"image/{kind.lower()}", (640, 150))
    assert [opened(one).size for one in made] == [(640, 640), (150, 150)]


@pytest.mark.parametrize("size", [(4_000, 700), (700, 4_000), (1_000, 1_000)])
def test_a_long_one_keeps_its_pixels(size: tuple[int, int]) -> None:
    made = port.make(picture("JPEG", size), "image/jpeg", (640, 150))
    assert [opened(one).size for one in made] == [(640, 640), (150, 150)]


# -- a worker that a picture has taken over --------------------------------------------------------------------------------


def taken_over(tmp_path: Path, code: str) -> Path:
    """The worker, which does ``code`` where it would decode."""
    source = Path(pictures.__file__).with_name("picture_worker.py").read_text()
    before = "        with io.FileIO(0, closefd=False) as file:\n"
    assert source.count(before) == 1
    loaded = "import io\nimport json\n"
    assert loaded in source
    source = source.replace(loaded, f"{loaded}import socket\nimport time\n", 1)
    script = tmp_path / "worker.py"
    script.write_text(source.replace(before, f"        {code}\n{before}"))
    return script


def answered(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Squares, or the reason of a refusal."""
    monkeypatch.setattr(pictures, "_WORKER", taken_over(tmp_path, code))
    try:
        return port.make(picture(), "image/jpeg", SIDES)
    except port.NoPicture as error:
        return error.reason


GETS_NOWHERE = [
    ("open('/etc/passwd')", "unreadable"),
    ("socket.socket()", "unreadable"),
    ("os.fork() or os._exit(0)", "unreadable"),
    ("os.execv('/bin/true', ['true'])", "unreadable"),
    ("os.environ['WHATSAPP_DATA']", "unreadable"),
    ("bytearray(2**30)", "resources"),
    ("os.write(outputs[0], bytes(5 * 2**20)); os.write(outputs[0], b'x')", "resources"),
]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        *GETS_NOWHERE,
        ('os.write(1, b\'{"width": -1, "height": []}\'); os._exit(0)', "unreadable"),
        ("os.write(1, b'[]'); os._exit(0)", "unreadable"),
        ("os.write(1, b'[' * 100_000); os._exit(0)", "unreadable"),
        ("os._exit(0)", "unreadable"),
        ("os.kill(os.getpid(), 11)", "unreadable"),
    ],
)
def test_a_worker_that_was_taken_over_gets_nowhere(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answered(tmp_path, code, monkeypatch) == reason


@pytest.mark.parametrize("code", [code for code, _ in GETS_NOWHERE])
def test_twin_without_walls_it_gets_there(code: str, tmp_path: Path) -> None:
    """The same code, in a Python of its own and nothing else around it."""
    script = taken_over(tmp_path, code)
    (tmp_path / "given").write_bytes(picture())
    start = (
        f"import runpy, os; worker = runpy.run_path({str(script)!r}); "
        f"os.chdir({str(tmp_path)!r}); how = os.O_WRONLY | os.O_CREAT; "
        "outputs = [os.open(name, how) for name in 'ab']; "
        "worker['main'](['JPEG', '1000000', '1000000', 'shortest', '64', '64', '16'], outputs)"
    )
    with (tmp_path / "given").open("rb") as given:
        ran = subprocess.run([sys.executable, "-c", start], stdin=given, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr[-1000:]


def test_a_worker_runs_out_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without having used a processor: whoever asked may try again."""
    monkeypatch.setattr(squares, "BOUNDS", replace(squares.BOUNDS, deadline_s=0.5))
    with pytest.raises(port.Unavailable):
        answered(tmp_path, "time.sleep(60)", monkeypatch)


def test_a_worker_runs_out_of_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squares, "BOUNDS", replace(squares.BOUNDS, cpu_s=1, deadline_s=LONG))
    assert answered(tmp_path, "[None for _ in iter(int, 1)]", monkeypatch) == "resources"


#: Calls that open nothing, and could hurt where the server and the worker are one user.
_FORBIDDEN = """for call in (
            lambda: os.unlink('/nowhere'),
            lambda: os.rename('/nowhere', '/elsewhere'),
            lambda: os.truncate('/nowhere', 0),
            lambda: os.symlink('/nowhere', '/nowhere/else'),
            lambda: os.chmod('/nowhere', 0),
            lambda: os.kill(os.getpid(), 0),
            lambda: os.execv('/nowhere', ['nowhere']),
            lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
        ):
            try:
                call()
            except PermissionError:
                continue
            except OSError:
                pass
            os._exit(1)"""


@pytest.mark.skipif(platform.machine() not in CALLS, reason="calls are not filtered on this machine")
def test_a_worker_calls_nothing_but_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(answered(tmp_path, _FORBIDDEN, monkeypatch)) == 2


def test_twin_a_worker_that_opens_nothing_calls_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_without", {"seccomp"})
    assert answered(tmp_path, _FORBIDDEN, monkeypatch) == "unreadable"


def test_a_worker_is_not_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "assert os.getuid() and os.geteuid() and os.getgid()"
    assert len(answered(tmp_path, code, monkeypatch)) == 2


def test_a_disk_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(port.Unavailable):
            port.make(picture(), "image/jpeg", SIDES)
    assert len(port.make(picture(), "image/jpeg", SIDES)) == 2


# -- the scanner -----------------------------------------------------------------------------------------------------------

HARMFUL = picture()[:2] + b"\xff\xfe" + (2 + len(EICAR)).to_bytes(2, "big") + EICAR + picture()[2:]


def nothing_is_stored(person: Person) -> None:
    assert person.api.get("/me").json()["photo"] is None
    assert not Photo.objects.filter(account=person.user_id).exists()
    assert not default_storage.exists(f"photos/{person.user_id}")


@pytest.mark.needs_packages
@pytest.mark.django_db
def test_nothing_passes_that_a_scanner_knows(clamd_server: Clamd, folder: Any, settings: Any) -> None:
    settings.CLAMD_URL = clamd_server.url
    ann = sign_in()
    body = assert_problem(put(ann, HARMFUL), "unsupported_media", 415)
    assert body["details"] == {"reason": "infected"}
    nothing_is_stored(ann)
    assert put(ann, picture()).status_code == 200


@pytest.mark.django_db
def test_twin_without_a_scanner_it_passes(folder: Any, settings: Any) -> None:
    """And is harmless: nothing of its comment gets through."""
    settings.CLAMD_URL = ""
    ann = sign_in()
    assert put(ann, HARMFUL).status_code == 200
    assert EICAR not in ann.api.get(f"/users/{ann.user_id}/photo").content


@pytest.fixture
def own_clamd() -> Iterator[Clamd]:
    with Clamd(early.folder("clamd")) as daemon:
        yield daemon


@pytest.mark.needs_packages
@pytest.mark.django_db
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_nothing_passes_unscanned(
    how: str, own_clamd: Clamd, folder: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CLAMD_URL = own_clamd.url
    ann = sign_in()
    with monkeypatch.context() as patched:
        patched.setattr(squares, "_SCAN_S", 0.5)
        getattr(own_clamd, how)()
        body = assert_problem(put(ann, picture()), "unavailable", 503)
    assert body["retryable"] is True
    nothing_is_stored(ann)
    own_clamd.start() if how == "kill" else own_clamd.thaw()
    assert put(ann, picture()).status_code == 200
