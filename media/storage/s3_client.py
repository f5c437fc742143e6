"""Clients of a bucket, one for each measure of patience, and what their errors mean."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import botocore
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header

from media.storage.interface import NotStored, StorageUnavailable, WrongParts

#: What all that boto3 raises has in common; the sockets below may raise their own.
ERRORS = (BotoCoreError, ClientError, OSError)

_MISSING = {"NoSuchKey", "NoSuchUpload", "NoSuchLifecycleConfiguration", "NoSuchCORSConfiguration"}
_WRONG_PARTS = {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML"}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds without any progress of a try, of which there are two; S3 is asked anew by the caller after that."""

    ask: float = 3.0  # to connect, for each write to the socket, for the answer to heads, listings, deletes
    transfer: float = 30.0  # for the answer to a part that was sent, for the next bytes of an object
    finish: float = 120.0  # the server puts parts together, or copies


class Clients:
    """For any number of threads. A process makes its own after a fork."""

    def __init__(self, backend: Any, patience: Patience, public_url: str = "") -> None:
        """``backend``: a ``storages.backends.s3.S3Storage``. ``public_url``: where clients find the bucket's server, if that is
        another address than ours."""
        self._backend, self._patience, self._public_url = backend, patience, public_url
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        self._session = backend._create_session()

    def ask(self) -> Any:
        return self._get("ask", _config(self._patience.ask, self._patience.ask))

    def transfer(self) -> Any:
        return self._get("transfer", _config(self._patience.ask, self._patience.transfer))

    def finish(self) -> Any:
        # Once: a second try would find the first one's work under way.
        once = {"mode": "standard", "total_max_attempts": 1}
        return self._get("finish", _config(self._patience.ask, self._patience.finish, retries=once))

    def unsigned(self) -> Any:
        """Makes addresses that :mod:`media.storage.presign` signs."""
        return self._get("unsigned", Config(signature_version=botocore.UNSIGNED), self._public_url)

    def credentials(self) -> Any:
        """Frozen ones. Raises :class:`StorageUnavailable`."""
        found = self._session.get_credentials()
        if found is None:
            raise StorageUnavailable("there are no credentials for the bucket")
        return found.get_frozen_credentials()

    def _get(self, name: str, config: Config, url: str = "") -> Any:
        with self._lock:  # a session is not for several threads, its clients are
            found = self._made.get(name)
            if found is None:
                backend = self._backend
                found = self._session.client(
                    "s3",
                    region_name=backend.region_name,
                    use_ssl=backend.use_ssl,
                    endpoint_url=url or backend.endpoint_url,
                    verify=backend.verify,
                    config=backend.client_config.merge(config),
                )
                # boto3 sends bodies in small writes, each with a bound of its own. But before it asks whether it may (Expect:
                # 100-continue), a round trip for each part, and a second where a server does not answer that.
                found.meta.events.unregister("before-call.s3", add_expect_header)
                self._made[name] = found
            return found


def _config(connect_s: float, read_s: float, **more: Any) -> Config:
    return Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        max_pool_connections=64,
        # Ours are sent; with one more of boto3's, AWS would refuse gaps in part numbers (ADR 0129).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **more,
    )


def meaning(error: Exception, what: str) -> Exception:
    """Which of ours it is."""
    if not isinstance(error, ClientError):
        return StorageUnavailable(f"{what}: {type(error).__name__}")
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _MISSING or (status == 404 and code in ("404", "NotFound", "")):
        return NotStored(what)
    if what == "copy" and status == 412:  # its source is another one than was asked for
        return NotStored(what)
    if code in _WRONG_PARTS:
        return WrongParts(f"{what}: {code}")
    return StorageUnavailable(f"{what}: {code or status}")
