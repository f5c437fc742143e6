"""Where uploaded files are: in a bucket when ``S3_BUCKET`` names one, otherwise in the data folder of this machine.

Several machines need a bucket: a gateway gives out what another one was given.

What else is read here is for media (``media/storage/``): how long the bucket is waited for, and how it encrypts.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from whatsapp.infra.build import data_folder
from whatsapp.settings import env

_FOLDER: dict[str, Any] = {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {
        "location": Path(data_folder()).absolute() / "media",
        "file_permissions_mode": 0o600,
        "directory_permissions_mode": 0o700,
    },
}


#: Without any progress, in milliseconds; of one try, of two: to connect, a write, a small request; the answer to a part, bytes of
#: an object; the bucket puts parts together.
S3_TIMEOUT_MS = env.number("S3_TIMEOUT_MS", 3_000)
S3_TRANSFER_TIMEOUT_MS = env.number("S3_TRANSFER_TIMEOUT_MS", 30_000)
S3_FINISH_TIMEOUT_MS = env.number("S3_FINISH_TIMEOUT_MS", 120_000)
#: After so many failures in a row (0: never) the bucket is left alone for so long.
S3_BREAKER_FAILURES = env.number("S3_BREAKER_FAILURES", 5)
S3_BREAKER_OPEN_MS = env.number("S3_BREAKER_OPEN_MS", 5_000)
#: Where clients find the bucket's server, if that is not where we do.
S3_PUBLIC_URL = os.environ.get("S3_PUBLIC_URL", "")
#: How the server checks what it is sent (docs/adr/0129): md5, or sha256, which it keeps beside the object.
S3_CHECKSUM = os.environ.get("S3_CHECKSUM", "") or "md5"
if S3_CHECKSUM not in ("md5", "sha256"):
    raise ImproperlyConfigured(f"S3_CHECKSUM is {S3_CHECKSUM!r}; it must be md5 or sha256.")


def _encryption() -> dict[str, str]:
    """``S3_SSE`` (``AES256``, ``aws:kms``, …) and ``S3_SSE_KEY_ID``, for who does not leave it to the bucket's own setting."""
    kind, key_id = os.environ.get("S3_SSE", ""), os.environ.get("S3_SSE_KEY_ID", "")
    if key_id and not kind.startswith("aws:kms"):
        raise ImproperlyConfigured("S3_SSE_KEY_ID needs S3_SSE=aws:kms.")
    found = {"ServerSideEncryption": kind, "SSEKMSKeyId": key_id}
    return {name: value for name, value in found.items() if value}


def _default() -> dict[str, Any]:
    """The bucket that the environment describes, without ``S3_BUCKET`` the folder."""
    name = os.environ.get("S3_BUCKET", "")
    if not name:
        return _FOLDER
    # Only with a bucket, and now: they take a while to import, and a gateway that is at work has no such while.
    import boto3  # noqa: F401 - the storage would, with its first file
    from botocore.config import Config

    key, secret = os.environ.get("S3_ACCESS_KEY_ID", ""), os.environ.get("S3_SECRET_ACCESS_KEY", "")
    if bool(key) != bool(secret):
        raise ImproperlyConfigured("S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY belong together.")
    timeout_ms = env.number("S3_TIMEOUT_MS", S3_TIMEOUT_MS)
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": name,
            "endpoint_url": os.environ.get("S3_ENDPOINT_URL") or None,
            "region_name": os.environ.get("S3_REGION") or None,
            # Without them boto3 looks where it always does: its own variables, the machine's role.
            "access_key": key or None,
            "secret_key": secret or None,
            "location": os.environ.get("S3_PREFIX", ""),
            "default_acl": None,  # the bucket's own: nothing here is public
            "object_parameters": _encryption(),
            "file_overwrite": True,  # names are never used twice, so nobody need ask whether one is taken
            "client_config": Config(
                signature_version="s3v4",
                s3={"addressing_style": os.environ.get("S3_ADDRESSING_STYLE", "auto")},
                connect_timeout=timeout_ms / 1000,
                read_timeout=timeout_ms / 1000,
                retries={"mode": "standard", "total_max_attempts": 2},
            ),
        },
    }


STORAGES: dict[str, dict[str, Any]] = {
    "default": _default(),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

#: Where the scanner of media is: ``tcp://host:port`` or ``unix:///path``; without it there is none.
CLAMD_URL = os.environ.get("CLAMD_URL", "")
if CLAMD_URL and not re.fullmatch(
    r"tcp://(?:[A-Za-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?|unix:///.+", CLAMD_URL
):
    raise ImproperlyConfigured("CLAMD_URL must look like tcp://host:port or unix:///path.")
#: From the last byte to the verdict; more than clamd's MaxScanTime.
CLAMD_TIMEOUT_MS = env.number("CLAMD_TIMEOUT_MS", 150_000)
#: Larger ones are not scanned, and not clean either; at most clamd's StreamMaxLength and MaxFileSize.
CLAMD_MOST_BYTES = env.number("CLAMD_MOST_BYTES", 100 * 2**20)

#: Where a worker keeps a file while it makes it anew: room for the largest one twice over. None: the folder for temporary
#: files of the system.
MEDIA_FOLDER = os.environ.get("MEDIA_FOLDER") or None

#: Whether files are taken. ``0``: uploads answer ``feature_disabled``; what was uploaded is sent and fetched as before.
MEDIA = env.flag("MEDIA", default=True)
