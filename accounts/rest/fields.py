"""Fields of request bodies that take what the OpenAPI document says and nothing else: DRF's own would take 7 for "7" and
"7" for 7, and a client would find out only when another server refuses it."""

from __future__ import annotations

import base64
import re
import uuid
from typing import Any, Final

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

#: A number with its country code, punctuation allowed; whether it exists is ``accounts.phone``'s to say.
PHONE_PATTERN: Final = r"^\+[0-9][0-9 ().-]{4,30}$"
#: What every keyboard has and every program writes alike; ASCII but the space.
PIN_PATTERN: Final = r"^[!-~]{6,20}$"
#: Whole groups of four, the last one filled up with ``=`` (RFC 4648, section 4); unused bits need not be 0.
BASE64_PATTERN: Final = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
#: PostgreSQL stores no NUL.
_TEXT_PATTERN: Final = r"^[^\u0000]*$"
#: What is trimmed and must not be empty then.
_FULL_PATTERN: Final = r"^[^\u0000]*[^\s\u0000-\u001f\u0085\ufeff][^\u0000]*$"
_PIN: Final = re.compile(r"[!-~]{6,20}")
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BASE64: Final = re.compile(BASE64_PATTERN)
_SEEN: Final = re.compile(r"[^\s\u0000-\u001f\u0085\ufeff]")
#: Beyond the line, beyond the eye: C0 and C1 controls, zero-width spaces, separators of lines and paragraphs, bidirectional
#: embeddings, overrides and isolates, byte order and annotation marks.
_HIDDEN: Final = r"\u007f-\u009f\u200b\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
_HIDDEN_IN_LINE: Final = rf"\u0000-\u001f{_HIDDEN}"
_HIDDEN_IN_PARAGRAPH: Final = rf"\u0000-\u0008\u000b-\u001f{_HIDDEN}"


class IdField(serializers.UUIDField):
    """An id as text; DRF's own takes numbers and other spellings too."""

    def to_internal_value(self, data: Any) -> uuid.UUID:
        if not isinstance(data, str) or not _ID.fullmatch(data):
            self.fail("invalid", value=data)
        return uuid.UUID(data)


class ChosenField(serializers.ChoiceField):
    """One of the words."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        word: str = super().to_internal_value(data)
        return word


class TextField(serializers.CharField):
    """Text without NUL, trimmed at both ends."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not self.allow_blank and not _SEEN.search(data):
            self.fail("blank")
        text: str = super().to_internal_value(data)
        return text


class MatchField(serializers.RegexField):
    """Text that matches a pattern as a whole, as it is: DRF's own trims it, takes numbers, and lets a line feed follow."""

    def __init__(self, pattern: str, **options: Any) -> None:
        super().__init__(pattern, trim_whitespace=False, **options)
        self._whole = re.compile(pattern)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or not self._whole.fullmatch(data):
            self.fail("invalid")
        return data


class VerbatimField(serializers.Field):  # type: ignore[type-arg]
    """Text as somebody else wrote it on the socket, which takes any: blank, with NUL, untrimmed. Not for PostgreSQL, which stores
    no NUL."""

    default_error_messages = {"invalid": "is no text", "max_length": "has more than {max_length} characters"}

    def __init__(self, max_length: int, **options: Any) -> None:
        super().__init__(**options)
        self.max_length = max_length

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or re.search("[\ud800-\udfff]", data):  # half of a character is none
            self.fail("invalid")
        if len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return data

    def to_representation(self, value: str) -> str:
        return value


class LineField(TextField):
    """What others are shown of somebody: one line without characters that act on the text around them. Control characters drive
    terminals, bidirectional overrides turn a name around, invisible ones make two names of one look. Joiners stay: emoji and
    Persian need them."""

    hidden = _HIDDEN_IN_LINE
    default_error_messages = {"hidden": "holds characters that are not shown"}

    def to_internal_value(self, data: Any) -> str:
        # Before it is trimmed, so that what is taken is what the document says.
        if isinstance(data, str) and re.search(f"[{self.hidden}]", data):
            self.fail("hidden")
        return super().to_internal_value(data)


class ParagraphField(LineField):
    """The same over several lines."""

    hidden = _HIDDEN_IN_PARAGRAPH


class PhoneField(TextField):
    """See :data:`PHONE_PATTERN`."""

    default_error_messages = {"shape": "must look like +15550001, with the country code"}

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=32, **options)
        self.validators.append(serializers.RegexField(PHONE_PATTERN).validators[-1])


class PinField(TextField):
    """A new PIN, as it is: see :data:`PIN_PATTERN`."""

    default_error_messages = {"shape": "must have 6 to 20 ASCII letters, digits or signs"}

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str) and not _PIN.fullmatch(data):
            self.fail("shape")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """A JSON ``true`` or ``false``; DRF's own takes words and numbers too."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class WholeNumberField(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        number: int = super().to_internal_value(data)
        return number


class BytesField(serializers.Field):  # type: ignore[type-arg]
    """Bytes as base64 (RFC 4648, section 4, with padding), at most ``max_bytes`` of them, which is rounded down to whole groups
    of three: then the length of the text says as much, which is all that a document can bound."""

    default_error_messages = {"invalid": "is not base64", "max_bytes": "has more than {max_bytes} bytes"}

    def __init__(self, max_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self.max_bytes = max_bytes // 3 * 3

    def to_internal_value(self, data: Any) -> bytes:
        if not isinstance(data, str) or not _BASE64.fullmatch(data):
            self.fail("invalid")
        found = base64.b64decode(data)
        if len(found) > self.max_bytes:
            self.fail("max_bytes", max_bytes=self.max_bytes)
        return found

    def to_representation(self, value: bytes) -> str:
        return base64.b64encode(value).decode()


class FixedBytesField(serializers.Field):  # type: ignore[type-arg]
    """Exactly ``size`` bytes as base64, with padding."""

    default_error_messages = {"invalid": "is not {size} bytes in base64"}

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size
        whole, rest = divmod(size, 3)
        tail = ("", "[A-Za-z0-9+/]{2}==", "[A-Za-z0-9+/]{3}=")[rest]
        self.pattern = f"^[A-Za-z0-9+/]{{{whole * 4}}}{tail}$"
        self.length = (whole + (rest > 0)) * 4

    def to_internal_value(self, data: Any) -> bytes:
        if not isinstance(data, str) or len(data) != self.length or not re.fullmatch(self.pattern, data):
            self.fail("invalid", size=self.size)
        return base64.b64decode(data)

    def to_representation(self, value: bytes) -> str:
        return base64.b64encode(value).decode()


class FixedBytesFieldSchema(OpenApiSerializerFieldExtension):
    """The pattern of a :class:`FixedBytesField`."""

    target_class = FixedBytesField

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        field = self.target
        return {
            "type": "string",
            "pattern": field.pattern,
            "minLength": field.length,
            "maxLength": field.length,
        }


class BytesFieldSchema(OpenApiSerializerFieldExtension):
    """The pattern of a :class:`BytesField`."""

    target_class = BytesField

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "string", "pattern": BASE64_PATTERN, "maxLength": self.target.max_bytes // 3 * 4}


class VerbatimFieldSchema(OpenApiSerializerFieldExtension):
    """Bounds of a :class:`VerbatimField`."""

    target_class = VerbatimField

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.target.max_length}


class TextFieldSchema(OpenApiSerializerFieldExtension):
    """Bounds and pattern of a :class:`TextField`."""

    target_class = TextField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string"}
        field = self.target
        if direction == "response":
            return schema
        if isinstance(field, PhoneField):
            return {**schema, "pattern": PHONE_PATTERN, "maxLength": 32}
        if isinstance(field, PinField):
            return {**schema, "pattern": PIN_PATTERN, "minLength": 6, "maxLength": 20}
        if isinstance(field, LineField):
            shown = f"[^{field.hidden}]*"
            full = f"^{shown}[^\\s{field.hidden}]{shown}$"
            schema["pattern"] = f"^{shown}$" if field.allow_blank else full
        else:
            schema["pattern"] = _TEXT_PATTERN if field.allow_blank else _FULL_PATTERN
        if not field.allow_blank:
            schema["minLength"] = 1
        if field.max_length:
            schema["maxLength"] = field.max_length
        return schema
