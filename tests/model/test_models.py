"""The protocol of the engine, searched to the end in small sizes, and each of its rules shown to be needed: docs/model.md."""

from __future__ import annotations

import re

import pytest

from devtools.model import Variant, check, is_broken, models, searched, variants
from devtools.paths import REPO

ALL = [variant for model in models() for variant in variants(model)]


def _ids(variants: list[Variant]) -> list[str]:
    return [f"{one.model}-{one.name}" for one in variants]


SOUND = [one for one in ALL if one.sound]
BROKEN = [one for one in ALL if not one.sound]


@pytest.mark.needs_packages
@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", SOUND, ids=_ids(SOUND))
def test_the_protocol_breaks_nothing(variant: Variant) -> None:
    """A search that takes a while is for whoever changes its model (``./dev model``), or for ``./dev faults``."""
    if searched(variant) is None:
        _holds(variant)


@pytest.mark.long
@pytest.mark.needs_packages
@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", SOUND, ids=_ids(SOUND))
def test_what_was_searched_is_found_again(variant: Variant) -> None:
    states = _holds(variant)
    assert searched(variant) in (None, states)


def _holds(variant: Variant) -> int:
    found = check(variant.model, variant.switches)
    assert not found.violated, found.said
    assert found.complete, found.said
    assert found.states > 100  # else something stands in its way, and it has shown nothing
    return found.states


def test_what_was_searched_counts_for_these_very_models() -> None:
    variant = next(one for one in SOUND if searched(one))
    assert searched(variant._replace(switches=(*variant.switches, "-DANOTHER"))) is None


@pytest.mark.needs_packages
@pytest.mark.timeout(120)
@pytest.mark.parametrize("variant", BROKEN, ids=_ids(BROKEN))
def test_without_a_rule_it_breaks_something(variant: Variant) -> None:
    found = check(variant.model, variant.switches)
    assert is_broken(found), found.said


@pytest.mark.needs_packages
def test_a_trail_is_the_steps_and_the_search_is_counted() -> None:
    (variant,) = (one for one in BROKEN if one.name == "NO_PAST")
    found = check(variant.model, variant.switches, trail=True)
    assert is_broken(found)
    assert "spin: trail ends after" in found.said
    assert found.states > 0


@pytest.mark.parametrize("model", models())
def test_a_model_names_its_variants_and_uses_every_switch(model: str) -> None:
    text = (REPO / "delivery" / "model" / f"{model}.pml").read_text()
    named = {variant.name for variant in variants(model) if not variant.sound}
    assert named
    switches = re.findall(r"^#ifn?def (NO_\w+)|defined\((NO_\w+)\)", text, re.MULTILINE)
    assert {one or other for one, other in switches} == named


@pytest.mark.parametrize("variant", BROKEN, ids=_ids(BROKEN))
def test_nothing_but_its_rule_is_taken_from_a_broken_variant(variant: Variant) -> None:
    sound = [set(one.switches) for one in variants(variant.model) if one.sound]
    assert set(variant.switches) - {f"-D{variant.name}"} in sound


def test_the_page_has_a_row_for_each_switch() -> None:
    page = (REPO / "docs" / "model.md").read_text()
    missing = [f"{one.model} {one.name}" for one in BROKEN if f"`{one.name}`" not in page]
    assert missing == []
