"""Makes the client importable as its users do: by its own name."""

from __future__ import annotations

import pathlib
import sys

_CLIENT = str(pathlib.Path(__file__).resolve().parents[2] / "clients" / "python")
if _CLIENT not in sys.path:
    sys.path.insert(0, _CLIENT)
