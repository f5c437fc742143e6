"""What messages say, in which language, and how they are coded."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import sms
from accounts.sms import gsm, senders
from accounts.sms.languages import _OF_COUNTRY
from accounts.sms.texts import VERIFICATION

UK = "+442079460958"
CODE = "012345"


@pytest.mark.parametrize("language", sorted(VERIFICATION))
def test_every_language_shows_the_code_so_that_telephones_find_it(language: str) -> None:
    body = sms.verification(CODE, phone=UK, accept_language=language)
    assert body == VERIFICATION[language].format(code=CODE)
    # ASCII digits in every script, once, and no letter or digit of any script touches them.
    assert re.findall(r"\d+", body) == [CODE]
    assert re.search(rf"(?<!\w){CODE}(?!\w)", body)
    # One segment: one message to pay, and nothing that could arrive in parts.
    assert len(gsm.encode(body).segments) == 1


def test_no_two_languages_share_a_text_and_each_is_in_its_script() -> None:
    assert len(set(VERIFICATION.values())) == len(VERIFICATION) >= 12
    scripts = {
        "ar": "ء-ي", "fa": "ء-یک", "ur": "ء-ےک", "hi": "ऀ-ॿ", "bn": "ঀ-৿", "ru": "а-яА-Я", "uk": "а-яіА-Я",
        "th": "ก-๙", "ja": "ぁ-ん", "ko": "가-힣", "zh-hans": "一-鿿", "zh-hant": "一-鿿",
    }  # fmt: skip
    for language, script in scripts.items():
        assert re.search(f"[{script}]{{2}}", VERIFICATION[language]), language
    assert "验证码" in VERIFICATION["zh-hans"]
    assert "驗證碼" in VERIFICATION["zh-hant"]


@pytest.mark.parametrize(
    ("accepted", "phone", "language"),
    [
        # what the request accepts, by weight, with and without regions
        ("de", UK, "de"),
        ("de-CH, fr;q=0.9", UK, "de"),
        ("fr;q=0.5, ru;q=0.8", UK, "ru"),
        ("tlh, eo;q=0.9, pt-BR;q=0.2", UK, "pt"),
        ("EN-us", "+4930123456", "en"),
        ("zh", UK, "zh-hans"),
        ("zh-TW", UK, "zh-hant"),
        ("zh-Hant-HK", UK, "zh-hant"),
        ("zh-Hans-HK", UK, "zh-hans"),
        # else the country of the number
        ("", "+4930123456", "de"),
        ("", "+5511961234567", "pt"),
        ("", "+52 55 1234 5678", "es"),
        ("", "+966501234567", "ar"),
        ("", "+919812345678", "hi"),
        ("", "+886912345678", "zh-hant"),
        ("", "+8613812345678", "zh-hans"),
        ("tlh", "+81312345678", "ja"),
        ("*", "+33123456789", "fr"),
        # else English
        ("", UK, "en"),
        ("", "+15550001", "en"),
        ("tlh", "+46701234567", "en"),
        (";;q=,,de;q=x", UK, "en"),
        ("\x00", UK, "en"),
        ("x" * 10_000, UK, "en"),
        (",".join(["de;q=0"] * 3), UK, "en"),
    ],
)
def test_the_language_is_the_requests_else_the_numbers_else_english(
    accepted: str, phone: str, language: str
) -> None:
    body = sms.verification(CODE, phone=phone, accept_language=accepted)
    assert body == VERIFICATION[language].format(code=CODE)


def test_every_country_is_written_to_in_a_language_that_there_is() -> None:
    assert set(_OF_COUNTRY.values()) <= set(VERIFICATION)
    assert all(re.fullmatch("[A-Z]{2}", country) for country in _OF_COUNTRY)


def test_lines_for_apps_and_browsers_follow_when_configured(settings: Any) -> None:
    settings.SMS_APP_HASH, settings.SMS_DOMAIN = "FA+9qCX9VSu", "chat.example"
    body = sms.verification(CODE, phone=UK)
    text, app, domain = body.split("\n")
    assert text == VERIFICATION["en"].format(code=CODE)
    assert (app, domain) == ("FA+9qCX9VSu", f"@chat.example #{CODE}")
    assert len(body.encode()) <= 140  # what Android's SMS Retriever takes


def test_the_alphabet_is_that_of_the_standard() -> None:
    """3GPP TS 23.038, section 6.2.1: samples of each column, and the extension table."""
    samples = {
        "@": "00", "£": "01", "Δ": "10", "_": "11", "Æ": "1c", " ": "20", "¤": "24", "0": "30", "¡": "40", "A": "41",
        "Z": "5a", "§": "5f", "¿": "60", "a": "61", "z": "7a", "à": "7f", "€": "1b65", "[": "1b3c", "\\": "1b2f", "|": "1b40",
    }  # fmt: skip
    for char, septets in samples.items():
        coded = gsm.encode(char)
        assert (coded.data_coding, coded.segments) == (gsm.GSM, [bytes.fromhex(septets)]), char
    for char in ("ç", "á", "\x1b", "`", "“", "😀"):
        assert gsm.encode(char).data_coding == gsm.UCS2, char


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("a" * 160, [160]),
        ("a" * 161, [6 + 153, 6 + 8]),
        ("a" * 159 + "€", [6 + 153, 6 + 8]),
        ("a" * 152 + "€" * 5, [6 + 152, 6 + 10]),  # the escape and its character stay together
        ("ж" * 70, [140]),
        ("ж" * 71, [6 + 134, 6 + 8]),
        ("ж" * 66 + "😀" * 3, [6 + 132, 6 + 12]),  # and so do surrogates
        ("", [0]),
    ],
)
def test_segments_hold_what_the_standard_says(text: str, sizes: list[int]) -> None:
    coded = gsm.encode(text)
    assert [len(segment) for segment in coded.segments] == sizes
    assert coded.has_header is (len(sizes) > 1)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=600), st.integers(0, 255))
def test_what_is_coded_can_be_read_again(text: str, reference: int) -> None:
    coded = gsm.encode(text, reference=reference)
    parts = coded.segments
    assert all(len(part) <= (160 if coded.data_coding == gsm.GSM else 140) for part in parts)
    if coded.has_header:
        headers = [tuple(part[:6]) for part in parts]
        assert headers == [(5, 0, 3, reference, len(parts), n + 1) for n in range(len(parts))]
        parts = [part[6:] for part in parts]
    if coded.data_coding == gsm.UCS2:
        assert "".join(part.decode("utf-16-be") for part in parts) == text
    else:
        back = {septets: char for char, septets in gsm._SEPTETS.items()}
        read, octets = "", iter(b"".join(parts))
        for octet in octets:
            read += back[bytes([octet, next(octets)]) if octet == 0x1B else bytes([octet])]
        assert read == text


def test_a_text_without_end_is_refused() -> None:
    with pytest.raises(ValueError):
        gsm.encode("ж" * 67 * 256)


def test_a_slow_network_does_not_hold_all_requests(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request that waits for a sender holds a connection to PostgreSQL."""
    monkeypatch.setattr(senders, "_TURN_S", 0.05)
    settings.SMS_SENDER = f"{__name__}.Slow"
    Slow.go.clear()
    waiting = [threading.Thread(target=sms.send, kwargs={"to": UK, "body": "x"}) for _ in range(5)]
    for thread in waiting:
        thread.start()
    while Slow.inside < 5:
        time.sleep(0.01)
    with pytest.raises(sms.SmsUnavailable):
        sms.send(to=UK, body="x")
    Slow.go.set()
    for thread in waiting:
        thread.join(10)
    sms.send(to=UK, body="x")
    assert Slow.inside == 6


class Slow:
    """A sender that waits until ``go`` is set."""

    go = threading.Event()
    inside = 0

    def send(self, *, to: str, body: str) -> None:
        Slow.inside += 1
        assert Slow.go.wait(10)
