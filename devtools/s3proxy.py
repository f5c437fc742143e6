"""An S3 server in a folder: s3proxy, one jar on Java. What it lacks of S3: docs/subsystems/media-storage.md."""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable
from pathlib import Path

from devtools import java, maven, ports
from devtools.bootstrap import say
from devtools.errors import DevError
from devtools.processes import Child, Spec

VERSION = "4.1.0"
JAR = Path(__file__).with_name("s3proxy.sha256")
REGION = "us-east-1"
#: Its class files are of this Java; Cassandra is content with an older one.
_JAVA = 17


class S3Server:
    """One server with one bucket, which checks signatures. Objects are files in ``folder``."""

    def __init__(
        self,
        folder: Path,
        *,
        access_key: str,
        secret_key: str,
        log: Path,
        bucket: str = "media",
        port: int | None = None,
        env: dict[str, str] | None = None,
        say: Callable[[str], None] = say,
    ) -> None:
        self.folder = folder
        self.access_key, self.secret_key = access_key, secret_key
        self.bucket = bucket
        self.log = log
        self.port = port or ports.remembered(folder.with_name(folder.name + ".port"))
        self.env = dict(os.environ if env is None else env)
        self.say = say

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spec(self) -> Spec:
        return Spec(
            name="s3",
            argv=[
                str(java.program()), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+PerfDisableSharedMem",
                "-jar", str(jar(self.say)), "--properties", str(self.folder / "s3proxy.conf"),
            ],
            env=self.env,
            cwd=Path("/"),
            log=self.log,
            ready=lambda child: self.answers(),
            before_start=self._write,
            stop_timeout=10,
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether it answers a request, whatever it says."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def variables(self, url: str | None = None) -> dict[str, str]:
        """What the settings of an application need to keep its files here; ``url``: another way to the server."""
        return {
            "S3_BUCKET": self.bucket,
            "S3_ENDPOINT_URL": url or self.url,
            "S3_REGION": REGION,
            "S3_ACCESS_KEY_ID": self.access_key,
            "S3_SECRET_ACCESS_KEY": self.secret_key,
            "S3_ADDRESSING_STYLE": "path",
        }

    def start(self) -> Child:
        """Start and wait until it answers; for callers that supervise nothing. Raises :class:`DevError`."""
        child = Child(self.spec)
        child.start()
        child.wait_ready()
        return child

    def _write(self) -> None:
        (self.folder / "data" / self.bucket).mkdir(parents=True, exist_ok=True, mode=0o700)
        config = self.folder / "s3proxy.conf"  # a file, so that the secret is on no command line
        config.touch(mode=0o600)
        lines = {
            "s3proxy.endpoint": self.url,
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": self.access_key,
            "s3proxy.credential": self.secret_key,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": str(self.folder / "data"),
        }
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))


def jar(say: Callable[[str], None]) -> Path:
    """The server, fetched the first time. Raises :class:`DevError`."""
    return maven.fetch(JAR, maven.cache() / f"s3proxy-{VERSION}", say=say)[0]


def ensure(say: Callable[[str], None]) -> None:
    """Java and the jar: what is slow the first time, for who has a deadline later. Raises :class:`DevError`."""
    program = java.program()
    found = java.version(program)
    if found is not None and found < _JAVA:
        raise DevError(f"s3proxy needs Java {_JAVA}, and {program} is {found}: set JAVA_HOME to one")
    jar(say)
