"""What ``./dev test`` takes for itself; the other words are pytest's."""

from __future__ import annotations

import pytest

from devtools import quality
from devtools.errors import DevError

HOT = ("node", "cluster")


@pytest.mark.parametrize("words", [["--hot", "cluster"], ["--hot=cluster"]])
def test_a_choice_is_taken_out(words: list[str]) -> None:
    assert quality._choice("--hot", HOT, ["-k", "x", *words, "tests"]) == ("cluster", ["-k", "x", "tests"])


def test_without_it_the_first_one_counts() -> None:
    assert quality._choice("--hot", HOT, ["tests", "-x"]) == ("node", ["tests", "-x"])


@pytest.mark.parametrize("words", [["--hot"], ["--hot=redis"], ["--hot", "tests"]])
def test_another_value_is_refused(words: list[str]) -> None:
    with pytest.raises(DevError, match="--hot node or --hot cluster"):
        quality._choice("--hot", HOT, words)
