"""Storages of media for tests, made as the settings and the factory make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import patch

from django.core.files.storage import storages
from django.test import override_settings

import media.storage
from media.storage import Storage
from whatsapp.settings import storage as settings_storage


def backend_options(variables: Mapping[str, str]) -> dict[str, Any]:
    """An entry of ``STORAGES``, as the settings make it of these variables of the environment."""
    with patch.dict("os.environ", {"NO_PROXY": "127.0.0.1", **variables}):
        return settings_storage._default()


def backend(variables: Mapping[str, str]) -> Any:
    """Django's storage of the same."""
    with patch.dict("os.environ", {"NO_PROXY": "127.0.0.1"}):
        return storages.create_storage(backend_options(variables))


def bucket(variables: Mapping[str, str], **settings: Any) -> Storage:
    """A storage of media; ``settings`` override those of Django (S3_CHECKSUM, S3_BREAKER_FAILURES …) while it is made."""
    with override_settings(**settings):
        return media.storage.make(backend(variables))
