"""Frames as JSON Schema (draft 2020-12), for the OpenAPI and AsyncAPI documents; made by msgspec from the one field table."""

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from whatsapp.wire.frames import Frame, Part

TEMPLATE = "#/components/schemas/{name}"


def schemas(types: Iterable[type[Frame] | type[Part]]) -> dict[str, dict[str, Any]]:
    """name -> schema of these types and of what they hold, referring to each other by :data:`TEMPLATE`."""
    _, found = msgspec.json.schema_components(tuple(types), ref_template=TEMPLATE)
    for schema in found.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"]).replace("``", "`")
        for name, field in schema.get("properties", {}).items():
            schema["properties"][name] = _plain(field)
    return found


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """Without ``default: null``: an absent field is absent, and nobody need send null."""
    if field.get("default", ...) is None:
        field = {key: value for key, value in field.items() if key != "default"}
    return field
