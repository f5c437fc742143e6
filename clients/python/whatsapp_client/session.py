"""Who this device is: ids and tokens, and the file that keeps them."""

from __future__ import annotations

import json
import os
import pathlib
import uuid
from dataclasses import asdict, dataclass, fields


def new_key() -> str:
    """A name for one request, so that its repetition is recognized."""
    return str(uuid.uuid4())


@dataclass(slots=True)
class Session:
    """One device of one user. ``expires_at``: end of the access token, ms since the epoch (0: unknown).
    ``refresh_key``: names the next refresh, so that it can be repeated when its answer was lost."""

    phone_number: str
    user_id: str
    device_id: str
    token: str
    refresh_token: str
    expires_at: int = 0
    refresh_key: str = ""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the session atomically, readable by its owner only: it holds the tokens. It is on the disk when this
        returns."""
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Session | None:
        """The saved session, or None when there is no readable one."""
        try:
            data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            return cls(**{field.name: data[field.name] for field in fields(cls) if field.name in data})
        except (OSError, ValueError, TypeError):
            return None
