"""Fields take what the document's schema takes: each value is judged by both."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from rest_framework import serializers

from accounts.rest.fields import (
    PhoneField,
    TextField,
    TextFieldSchema,
    VerbatimField,
    VerbatimFieldSchema,
    WholeNumberField,
)

FIELDS: dict[str, Any] = {
    "text": TextField(max_length=10),
    "text or nothing": TextField(max_length=10, allow_blank=True),
    "verbatim": VerbatimField(max_length=10),
    "phone": PhoneField(),
    "number": WholeNumberField(min_value=0, max_value=2**31 - 1),
}


def schema(name: str) -> dict[str, Any]:
    field = FIELDS[name]
    if name == "number":
        return {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    if name == "verbatim":
        return VerbatimFieldSchema(FIELDS[name]).map_serializer_field(None, "request")
    return TextFieldSchema(field).map_serializer_field(None, "request")


def taken(name: str, value: Any) -> bool:
    try:
        FIELDS[name].run_validation(value)
    except serializers.ValidationError:
        return False
    return True


#: Alphabets in which the interesting characters are frequent.
_texts = st.text(st.sampled_from("a7 +\t\n\x00\x1f\x85\u00a0\u2003é中👍().-"), max_size=12)
_numbers = st.sampled_from(
    [0, -1, 1.0, 1.5, -0.0, 2**31 - 1, 2**31, 2**53, 10**4000, 1e300, True, False, "7", "1.0", " 7 ", "٣"]
)
_values = st.one_of(_texts, _numbers, st.none(), st.just([]), st.just({}), st.just(["a"]))


@pytest.mark.parametrize("name", list(FIELDS))
@given(value=_values)
@example(value="+15550001")
@example(value="+1 (555) 0001")
@example(value="\ufeff")
@example(value="x" * 10)
@example(value="x" * 11)
@settings(max_examples=300, deadline=None)
def test_a_field_and_its_schema_judge_alike(name: str, value: Any) -> None:
    fits = Draft202012Validator(schema(name)).is_valid(value)
    if taken(name, value) and not fits:
        # The schema counts what was sent, the field what is left after trimming.
        assert isinstance(value, str)
        assert len(value.strip()) <= 10 < len(value)
    elif fits:
        assert taken(name, value), value


@pytest.mark.parametrize("text", [b"1e400", b"-1e400", b"1" + b"0" * 10_000, b"1E+5", b"0.1e1"])
def test_numbers_beyond_all_bounds_break_nothing(text: bytes) -> None:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return
    assert taken("number", value) is (value == int(value) and 0 <= value < 2**31)
