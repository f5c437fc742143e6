"""No file imports in a circle, neither when it runs nor for its types: each can be read, and changed, after those it names."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from devtools.paths import REPO

SERVER = (
    "accounts",
    "bench",
    "chats",
    "delivery",
    "devtools",
    "groups",
    "media",
    "notifications",
    "whatsapp",
)
CLIENTS = ("whatsapp_client", "whatsapp_terminal")


def graph(root: Path, packages: tuple[str, ...]) -> dict[str, set[str]]:
    """Module → modules that it names in an import, wherever that stands."""
    files = {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for package in packages
        for file in (root / package).rglob("*.py")
    }
    return {
        module: {name for name in _named(module, file, files) if name in files and name != module}
        for module, file in files.items()
    }


def _named(module: str, file: Path, files: Collection[str]) -> Iterator[str]:
    inside = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = inside.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:  # a module of the package, or something that the package has
                yield below if (below := f"{base}.{alias.name}") in files else base


def circle(of: Mapping[str, set[str]]) -> list[str]:
    """One of them, or nothing."""
    try:
        TopologicalSorter(of).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.mark.parametrize(
    ("root", "packages"), [(REPO, SERVER), (REPO / "clients/python", CLIENTS)], ids=["server", "clients"]
)
def test_no_file_imports_in_a_circle(root: Path, packages: tuple[str, ...]) -> None:
    found = graph(root, packages)
    assert len(found) > 50
    assert circle(found) == []


def test_twin_a_circle_for_types_alone_is_found(tmp_path: Path) -> None:
    package = tmp_path / "one"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "app.py").write_text("from .screen import Screen\n")
    (package / "screen.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .app import App\n"
    )
    assert set(circle(graph(tmp_path, ("one",)))) == {"one.app", "one.screen"}
