"""The package as others install it: a wheel with its types, its extras and its command, in an environment of its own."""

from __future__ import annotations

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from whatsapp_client.version import VERSION

SOURCE = Path(__file__).parents[2] / "clients" / "python"

TRY = """
import sys
import whatsapp_client
from whatsapp_client import Client, Database, Session
assert whatsapp_client.__file__.startswith(sys.prefix), whatsapp_client.__file__
with Database(sys.argv[1]) as database:
    client = Client("http://127.0.0.1:1", Session("+1", "ann", "phone", "", ""), database=database)
    print(client.send("c", "hello").state, len(client.chats()))
"""


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=100, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    skip = shutil.ignore_patterns("__pycache__", "build", "dist", "*.egg-info")
    shutil.copytree(SOURCE, folder / "source", ignore=skip)
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder / "dist",
        folder / "source",
    )
    (built,) = (folder / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_what_it_says(wheel: Path):
    assert wheel.name == f"whatsapp_client-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"whatsapp_client-{VERSION}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        commands = archive.read(f"{info}/entry_points.txt").decode()
    modules = {f"{path.parent.name}/{path.name}" for path in SOURCE.glob("whatsapp_*/*.py")}
    assert modules | {"whatsapp_client/py.typed"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"whatsapp_client", "whatsapp_terminal", info}
    assert metadata["Requires-Python"] == ">=3.11"
    requires = metadata.get_all("Requires-Dist") or []
    assert [line for line in requires if "extra" not in line] == ["websockets>=15", "cryptography>=42"]
    assert any(line.startswith("textual") and 'extra == "terminal"' in line for line in requires)
    assert "whatsapp-chat = whatsapp_terminal.__main__:main" in commands
    assert "asyncio" in str(metadata.get_payload())  # the README


def imported(package: Path) -> set[str]:
    """Everything outside the standard library and the package that its modules import, wherever they do."""
    found: set[str] = set()
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return found - sys.stdlib_module_names - {"whatsapp_client", "whatsapp_terminal"}


def test_what_is_imported_is_declared():
    """A package that is there because the server needs it is missing where only the client is installed."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]

    def declared(*lists: list[str]) -> set[str]:
        return {re.split(r"[<>=\[; ]", line)[0] for lines in lists for line in lines}

    needed = project["dependencies"]
    extras = project["optional-dependencies"]
    modules = {"protobuf": "google", "pillow": "PIL"}
    optional = declared(needed, extras["protobuf"], extras["pictures"])
    with_extras = {modules.get(name, name) for name in optional}
    assert declared(needed) <= imported(SOURCE / "whatsapp_client") <= with_extras
    terminal = {modules.get(name, name) for name in declared(needed, extras["terminal"])}
    assert imported(SOURCE / "whatsapp_terminal") <= terminal | {"rich"}
    # What lint asks for known holes (`./dev lint`, audit) is what the repository pins: these are among them.
    pinned = (SOURCE.parents[1] / "requirements.txt").read_text()
    for name in declared(needed, *extras.values()):
        assert re.search(rf"^{name}==", pinned, re.MULTILINE), name


def test_it_installs_and_runs_in_an_environment_of_its_own(wheel: Path, tmp_path: Path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        wheel,
    )
    # What it depends on comes from where these tests run: no network.
    (purelib,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (purelib / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert run(python, "-c", TRY, tmp_path / "ann.db", cwd=tmp_path, env=environment) == "queued 1\n"
    shown = run(tmp_path / "venv" / "bin" / "whatsapp-chat", "--help", cwd=tmp_path, env=environment)
    assert "--url" in shown
