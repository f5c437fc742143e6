"""docker/: what can be checked without an engine. Nothing here starts a container."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from devtools.paths import REPO
from devtools.stack import QUEUES

FOLDER = REPO / "docker"
PROGRAMS = Path(sys.executable).parent
#: The image's parts of docker/compose*.yaml.
OURS = {"gateway", "api", "worker", "fanout", "push", "beat", "migrate"}
RUN = (FOLDER / "run").read_text()


def test_the_dockerfile_has_no_findings() -> None:
    checked = subprocess.run(
        [PROGRAMS / "hadolint", FOLDER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_finding_would_be_seen(tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    worse.write_text((FOLDER / "Dockerfile").read_text() + "USER root\n")
    checked = subprocess.run([PROGRAMS / "hadolint", worse], capture_output=True, text=True, check=False)
    assert checked.returncode
    assert "DL3002" in checked.stdout


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder with an environment file as an operator fills it in."""
    folder = tmp_path_factory.mktemp("filled") / "docker"
    folder.mkdir()
    for name in ("compose.yaml", "compose.external.yaml", "haproxy.cfg", "Dockerfile"):
        (folder / name).write_text((FOLDER / name).read_text())
    text = (FOLDER / "env.example").read_text()
    (folder / ".env").write_text(re.sub(r"(?m)^([A-Z_]+)=$", r"\1=filled-in", text))
    return folder


def compose(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    hidden = {"DATABASE_URL", "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "HOT_URL", "BROKER_URL", "CACHE_URL"}
    return subprocess.run(
        [PROGRAMS / "docker-compose", "-f", folder / name, "--profile", "*", "config", "--format", "json"],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["compose.yaml", "compose.external.yaml"])
def test_every_part_of_ours_is_the_image_with_nothing_to_write_on(filled: Path, name: str) -> None:
    run = compose(filled, name)
    assert run.returncode == 0, run.stderr
    services: dict[str, Any] = json.loads(run.stdout)["services"]
    assert set(services) >= {*OURS, "haproxy"}
    for part in OURS:
        service = services[part]
        assert service["command"] == [part]
        assert re.search(rf"(?m)^([a-z]+ \| )*{part}( \| [a-z]+)*\)$", RUN)
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service  # the image's own, which is not root
        assert "ports" not in service  # the world comes by the balancer only
        assert service["environment"]["SECRET_KEY"] == "filled-in"
    assert len({services[part]["image"] for part in OURS}) == 1
    assert [port["target"] for port in services["haproxy"]["ports"]] == [8443]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.external.yaml"])
def test_every_part_has_a_limit_and_a_health_and_is_not_root(filled: Path, name: str) -> None:
    services: dict[str, Any] = json.loads(compose(filled, name).stdout)["services"]
    image = (FOLDER / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", image, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*run\", \"health\"", image, re.MULTILINE)
    for part, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert int(limits["memory"]) >= 2**30, part
        assert limits["pids"], part
        assert service["cap_drop"] == ["ALL"], part
        assert service["security_opt"] == ["no-new-privileges:true"], part
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, part
        if part == "migrate":  # it ends
            assert service["healthcheck"]["disable"]
        elif part not in OURS:
            assert service["healthcheck"]["test"], part
        if part in ("postgres", "valkey"):  # HAProxy's image says so itself, ours is above
            assert service["user"] == part


def test_the_balancers_health_is_asked_for_without_other_programs(filled: Path) -> None:
    services = json.loads(compose(filled, "compose.external.yaml").stdout)["services"]
    kind, shell, option, words = services["haproxy"]["healthcheck"]["test"]
    assert (kind, shell, option) == ("CMD", "bash", "-c")
    with socket.create_server(("127.0.0.1", 0)) as server:
        ask = words.replace("/8404", f"/{server.getsockname()[1]}")
        assert ask != words
        for answer, code in ((b"HTTP/1.0 200 OK\r\n\r\nok", 0), (b"HTTP/1.0 503 No\r\n\r\nno", 1)):
            run = subprocess.Popen([shell, option, ask])
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1000).startswith(b"GET /health/live HTTP/1.0\r\n")
                connection.sendall(answer)
            assert run.wait(30) == code


def test_on_one_machine_nothing_starts_before_its_engines(filled: Path) -> None:
    services = json.loads(compose(filled, "compose.yaml").stdout)["services"]
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for part in OURS - {"migrate"}:
        assert services[part]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services[part]["environment"]["DATABASE_URL"].endswith("@postgres/whatsapp")
    for engine in ("postgres", "valkey"):
        assert list(services[engine]["networks"]) == ["inside"]
        assert "ports" not in services[engine]


def test_a_password_that_is_missing_is_said(filled: Path, tmp_path: Path) -> None:
    for file in filled.iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("POSTGRES_PASSWORD=filled-in", ""))
    run = compose(tmp_path, "compose.yaml")
    assert run.returncode
    assert "POSTGRES_PASSWORD" in run.stderr


def test_the_image_holds_what_the_product_imports() -> None:
    """And neither tests nor tools."""
    text = (FOLDER / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \w+$", text, re.MULTILINE))
    packages = {path.parent.name for path in REPO.glob("*/__init__.py")}
    assert copied == packages - {"bench", "devtools", "tests", "clients"}
    ignored = (REPO / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} >= {
        *copied,
        "requirements.txt",
        "docker/run",
    }


@pytest.mark.parametrize(("role", "queues"), [("worker", QUEUES), ("fanout", "fanout"), ("push", "push")])
def test_a_worker_takes_the_queues_that_it_takes_under_dev_up(role: str, queues: str, tmp_path: Path) -> None:
    celery = tmp_path / "celery"
    celery.write_text('#!/bin/sh\necho "$@"\n')
    celery.chmod(0o755)
    run = subprocess.run(
        [FOLDER / "run", role], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True
    )  # fmt: skip
    words = run.stdout.split()
    assert words[words.index("-Q") + 1] == queues
    assert words[words.index("-n") + 1].startswith(role)


def test_no_queue_is_without_a_worker_or_has_two_kinds(settings: Any) -> None:
    roles = [*QUEUES.split(","), "fanout", "push"]
    assert sorted(roles) == sorted(queue.name for queue in settings.CELERY_TASK_QUEUES)


def test_an_unknown_command_is_refused() -> None:
    run = subprocess.run([FOLDER / "run", "shell"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "gateway, api, worker, fanout, push, beat" in run.stderr


def test_health_is_asked_for_under_a_name_that_is_allowed() -> None:
    """A gateway answers 400 to other names, and its container would be called unhealthy for ever."""
    (hosts,) = re.findall(r"(?m)^ALLOWED_HOSTS=(.*)$", (FOLDER / "env.example").read_text())

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Host"] in hosts.split(",") else 400)
            self.end_headers()

        def log_message(self, format: str, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for more, code in ({}, 0), ({"HEALTH_HOST": "chat.example"}, 0), ({"HEALTH_HOST": "127.0.0.1"}, 1):
            run = subprocess.run(
                [FOLDER / "run", "health"],
                env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "PRIVATE_PORT": str(server.server_port), **more},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert run.returncode == code, run.stderr
        server.shutdown()
    assert run.stderr.startswith("not healthy: HTTP Error 400")
    assert len(run.stderr.splitlines()) == 1


def test_every_variable_of_the_example_is_one_that_something_reads() -> None:
    names = set(re.findall(r"(?m)^#?([A-Z][A-Z0-9_]+)=", (FOLDER / "env.example").read_text()))
    read = "\n".join(path.read_text() for path in REPO.glob("whatsapp/**/*.py"))
    read += "".join((FOLDER / name).read_text() for name in ("compose.yaml", "compose.external.yaml"))
    assert [name for name in sorted(names) if name not in read] == []
