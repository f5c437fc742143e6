"""In which language to write to a number: what the request accepts, else what is spoken in the number's country, else English.

Nothing that an account says decides it: the message to a known number is the one to an unknown number.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import phonenumbers
from django.utils.translation.trans_real import parse_accept_lang_header

DEFAULT: Final = "en"

#: Main language by country or territory (ISO 3166); those not here are written to in English.
_OF_COUNTRY: Final = {
    country: language
    for language, countries in {
        "ar": "AE BH DZ EG IQ JO KW LB LY MA OM QA SA SD SY TN YE MR",
        "bn": "BD",
        "de": "DE AT CH LI",
        "es": "ES AR BO CL CO CR CU DO EC GT HN MX NI PA PE PR PY SV UY VE GQ",
        "fa": "IR AF",
        "fr": "FR BE LU MC SN CI ML BF NE TG BJ GA CG CD CM GN TD CF DJ MG HT RE GP MQ GF PF NC",
        "hi": "IN",
        "id": "ID",
        "it": "IT SM VA",
        "ja": "JP",
        "ko": "KR KP",
        "nl": "NL SR",
        "pl": "PL",
        "pt": "BR PT AO MZ CV GW ST TL",
        "ru": "RU BY KZ KG",
        "th": "TH",
        "tr": "TR",
        "uk": "UA",
        "ur": "PK",
        "vi": "VN",
        "zh-hans": "CN SG",
        "zh-hant": "TW HK MO",
    }.items()
    for country in countries.split()
}
_TRADITIONAL: Final = ("zh-hant", "zh-tw", "zh-hk", "zh-mo")


def choose(*, accept_language: str, phone: str, known: Container[str]) -> str:
    """One of ``known`` (lower-case tags). ``accept_language`` is the header (RFC 9110, section 12.5.4), ``phone`` E.164."""
    for tag, weight in parse_accept_lang_header(accept_language[:500].lower()):
        language = _written(tag)
        if weight and language in known:
            return language
    country = _country(phone)
    language = _OF_COUNTRY.get(country, DEFAULT) if country else DEFAULT
    return language if language in known else DEFAULT


def _written(tag: str) -> str:
    """The language of a tag, without its region; Chinese by its script."""
    language = tag.partition("-")[0]
    if language == "zh":
        return "zh-hant" if tag.startswith(_TRADITIONAL) else "zh-hans"
    return "id" if language == "in" else language  # ISO 639 renamed Indonesian; old devices did not


def _country(phone: str) -> str | None:
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(phone, None))
    except phonenumbers.NumberParseException:
        return None
