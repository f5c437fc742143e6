"""Paths that begin with what was typed."""

from __future__ import annotations

import os
import pathlib

LOOKED_AT, OFFERED = 2_000, 50  # entries of a folder


def completions(typed: str) -> list[str]:
    """Files and folders (with a slash at their end) whose name goes on, as they would be typed. Hidden ones only behind a dot."""
    if typed in ("", "~"):
        typed = "~/"
    head, _, begun = typed.rpartition("/")
    folder = pathlib.Path(f"{head}/" if head or typed.startswith("/") else ".").expanduser()
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= LOOKED_AT:
                    break
                name = entry.name
                if not name.casefold().startswith(begun.casefold()) or (name[:1] == "." and begun[:1] != "."):
                    continue
                try:
                    is_folder, is_file = entry.is_dir(), entry.is_file()
                except OSError:
                    continue
                if is_folder or is_file:
                    start = f"{head}/" if head or typed.startswith("/") else ""
                    found.append(f"{start}{name}{'/' if is_folder else ''}")
    except OSError:
        return []
    found.sort(key=lambda path: (not path.endswith("/"), path.casefold()))
    return found[:OFFERED]
