"""The taxonomy is the published one."""

from pathlib import Path

import pytest

from whatsapp.wire.codec import JSON
from whatsapp.wire.errors import (
    CODES,
    RETRY_AFTER_REFRESH,
    RETRY_AFTER_SLOT,
    RETRY_AT_ONCE,
    RETRY_NEVER,
    RETRYABLE,
    Close,
    Code,
    FrameError,
    error_frame,
)
from whatsapp.wire.frames import Error

PUBLISHED = """
    bad_request unknown_type unauthenticated forbidden not_member not_found conflict gone too_large unsupported_media
    rate_limited* out_of_order* device_mismatch* member_mismatch* window_expired limit_exceeded banned feature_disabled
    unavailable* upgrade_required wrong_region reset internal*
"""


def test_codes() -> None:
    published = PUBLISHED.split()
    assert {code.removesuffix("*") for code in published} == CODES
    assert {code.removesuffix("*") for code in published if code.endswith("*")} == RETRYABLE


def test_close_codes() -> None:
    codes = {value for name, value in vars(Close).items() if name.isupper()}
    assert codes == {1000, 1009, 1011, 1012, 1013, 4400, 4401, 4403, 4408, 4409, 4410, 4426, 4429, 4430}
    expected = {1006, 1011, 4408, 4430}, {1012, 1013}, {4401}, {4403, 4409, 4410, 4426}
    assert expected == (RETRY_AT_ONCE, RETRY_AFTER_SLOT, RETRY_AFTER_REFRESH, RETRY_NEVER)


@pytest.mark.parametrize("code", sorted(CODES))
def test_retryable_follows_from_the_code(code: str) -> None:
    assert error_frame(code, "text").retryable is (code in RETRYABLE)


def test_a_frame_error_makes_its_answer() -> None:
    error = FrameError(Code.BAD_REQUEST, "seq: no", "r1", field="seq", message_id="m")
    assert error.frame() == Error("bad_request", "seq: no", False, "m", details={"field": "seq"}, ref="r1")
    assert JSON.encode(FrameError(Code.BAD_REQUEST, "no", malformed=True).frame()) == (
        b'{"type":"error","code":"bad_request","message":"no","retryable":false}'
    )


def test_the_page_names_every_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
    assert {code for code in CODES if f"`{code}`" not in page} == set()
    assert {
        value for name, value in vars(Close).items() if name.isupper() and str(value) not in page
    } == set()
