"""Where uploaded files are: in a bucket when ``S3_BUCKET`` names one, otherwise in the data folder of this machine.

Several machines need a bucket: a gateway gives out what another one was given.
"""

from __future__ import annotations

import os
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
    timeout_ms = env.number("S3_TIMEOUT_MS", 3_000)
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
