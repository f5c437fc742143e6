"""What a system has for its media besides a folder: an S3 server to keep them, a scanner to look at them."""

from __future__ import annotations

from collections.abc import Mapping

from devtools import clamd, packages, s3proxy
from devtools.clamd import ClamdServer
from devtools.errors import DevError
from devtools.paths import DataFolder
from devtools.processes import Spec
from devtools.s3proxy import S3Server


class MediaServers:
    """``bucket``, ``scanner``: whether this folder is to have them. It remembers a bucket, because its files are there."""

    def __init__(
        self,
        data: DataFolder,
        *,
        bucket: bool,
        scanner: bool,
        secret: str,
        env: dict[str, str],
        caller: Mapping[str, str],
    ) -> None:
        self.s3: S3Server | None = None
        self.clamd: ClamdServer | None = None
        if (bucket or data.s3.exists()) and not caller.get("S3_BUCKET"):
            self.s3 = S3Server(
                data.s3, access_key="whatsapp", secret_key=secret, log=data.logs / "s3.log", env=env
            )
        if scanner and not caller.get("CLAMD_URL"):
            self.clamd = ClamdServer(data.root / "clamd", log=data.logs / "clamd.log", env=env)

    @property
    def specs(self) -> list[Spec]:
        """Starting them; gets what is missing. Raises :class:`DevError`."""
        found = []
        if self.s3:
            s3proxy.ensure(self.s3.say)
            found.append(self.s3.spec)
        if self.clamd:
            packages.ensure((clamd.PACKAGE,), "--scanner")
            found.append(self.clamd.spec)
        return found

    @property
    def names(self) -> list[str]:
        return ["s3"] * bool(self.s3) + ["clamd"] * bool(self.clamd)

    def variables(self) -> dict[str, str]:
        """What the application's processes get."""
        return {
            **(self.s3.variables() if self.s3 else {}),
            **({"CLAMD_URL": self.clamd.url} if self.clamd else {}),
        }


def check(data: DataFolder, *, bucket: bool, backups: bool) -> None:
    """Raises :class:`DevError` for what would lose files: some in a folder and some in a bucket, a bucket without backups."""
    if bucket and not data.s3.exists() and any((data.root / "media").glob("*")):
        raise DevError(f"the data folder {data.root} keeps its files in media/; choose another: --data DIR")
    if backups and (bucket or data.s3.exists()):
        raise DevError("--backups copies the files of media/, and nothing of a bucket (--s3)")
