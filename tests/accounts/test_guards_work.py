"""Guards of registration that ask nobody: proofs of work, and how often an address or a network may ask."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from accounts.guards import work
from accounts.services import guards
from tests.accounts.conftest import Api, assert_problem, code_for, give, messages_to, new_number
from tests.accounts.guarding import ask, challenge_of, solve
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def unsolved(challenge: dict[str, Any]) -> str:
    return next(
        answer
        for number in itertools.count()
        if not work.solves(answer := f"{challenge['seed']}:{number}", challenge["bits"])
    )


@pytest.fixture
def always(settings: Any, limits: Callable[..., None]) -> None:
    settings.REGISTRATION_CHALLENGE = "always"
    limits(work_bits=8)


# -- proof of work ----------------------------------------------------------------------------------------------------------


def test_without_a_policy_nothing_is_asked() -> None:
    assert ask(new_number()).status_code == 202


@pytest.mark.usefixtures("always")
def test_a_proof_of_work_brings_the_code_and_a_session() -> None:
    phone = new_number()
    challenge = challenge_of(ask(phone))
    assert challenge["kind"] == "proof_of_work"
    assert challenge["algorithm"] == "sha256"
    assert challenge["expiresAt"] > now_ms()
    assert messages_to(phone) == []
    assert ask(phone, solve(challenge)).status_code == 202
    assert give(phone, code_for(phone)).status_code == 200


@pytest.mark.usefixtures("always")
def test_a_proof_counts_once() -> None:
    phone = new_number()
    answer = solve(challenge_of(ask(phone)))
    assert ask(phone, answer).status_code == 202
    challenge_of(ask(phone, answer))
    # Nor with another nonce, or the same seed written otherwise.
    seed = answer.partition(":")[0]
    again = next(a for n in itertools.count() if work.solves(a := f"{seed}:again{n}", 8))
    challenge_of(ask(phone, again))
    padded = seed + "=" * (-len(seed) % 4)
    challenge_of(ask(phone, next(a for n in itertools.count() if work.solves(a := f"{padded}:{n}", 8))))
    assert len(messages_to(phone)) == 1


@pytest.mark.usefixtures("always")
def test_a_proof_is_of_one_number_and_address(clock: Callable[[int], None]) -> None:
    phone, other = new_number(), new_number()
    answer = solve(challenge_of(ask(phone)))
    challenge_of(ask(other, answer))
    challenge_of(ask(phone, answer, address="192.0.2.8"))
    clock(299_000)
    assert ask(phone, answer).status_code == 202, "until then it was good"


@pytest.mark.usefixtures("always")
def test_a_proof_comes_too_late(clock: Callable[[int], None]) -> None:
    phone = new_number()
    answer = solve(challenge_of(ask(phone)))
    clock(301_000)
    challenge_of(ask(phone, answer))


@pytest.mark.usefixtures("always")
def test_no_nonsense_is_a_proof() -> None:
    phone = new_number()
    challenge = challenge_of(ask(phone))
    answer = solve(challenge)
    token = bytearray(base64.urlsafe_b64decode(challenge["seed"] + "=="))
    token[8] = 0  # no zero bits are asked for, says who has no key
    forged = base64.urlsafe_b64encode(bytes(token)).decode().rstrip("=")
    for wrong in (
        unsolved(challenge), f"{forged}:1", challenge["seed"], f"{challenge['seed']}:", ":", "x" * 4_000, "é:1", "\x00:1",
        f"{challenge['seed']}:{'0' * 33}", f"{challenge['seed'][:-1]}:1",
    ):  # fmt: skip
        assert ask(phone, wrong).status_code in (400, 403), wrong
    assert messages_to(phone) == []
    assert ask(phone, answer).status_code == 202


@pytest.mark.usefixtures("always")
def test_a_repeat_with_the_same_key_gets_the_first_answer() -> None:
    phone = new_number()
    answer = solve(challenge_of(ask(phone)))
    headers = {"X-Idempotency-Key": "the-very-same-key"}
    sent = [
        Api().post("/auth/register", {"phoneNumber": phone, "challengeAnswer": a}, headers=headers, REMOTE_ADDR="192.0.2.7")
        for a in (answer, answer)
    ]  # fmt: skip
    assert [each.status_code for each in sent] == [202, 202]
    assert sent[0].json() == sent[1].json()
    assert len(messages_to(phone)) == 1


def test_who_used_half_of_an_address_is_asked(settings: Any, limits: Callable[..., None]) -> None:
    settings.REGISTRATION_CHALLENGE = "suspicious"
    limits(registrations_per_ip_day=4, work_bits=4)
    assert [ask(new_number()).status_code for _ in range(2)] == [202, 202]
    third = new_number()
    assert ask(third, solve(challenge_of(ask(third)))).status_code == 202
    assert ask(new_number(), address="198.51.100.1").status_code == 202, "others are not asked"


# -- addresses --------------------------------------------------------------------------------------------------------------


def test_refused_requests_of_an_address_count_too(limits: Callable[..., None], settings: Any) -> None:
    settings.REGISTRATION_CHALLENGE = "always"
    limits(registration_tries_per_ip_day=3)
    for _ in range(3):
        challenge_of(ask(new_number()))
    assert assert_problem(ask(new_number()), "rate_limited", 429)["retryAfterMs"] > 0
    challenge_of(ask(new_number(), address="192.0.2.8"))


@pytest.mark.parametrize(
    ("mates", "stranger"),
    [(("192.0.2.7", "192.0.2.8"), "192.0.3.7"), (("2001:db8:1:1::1", "2001:db8:1:2::1"), "2001:db8:2::1")],
    ids=["IPv4", "IPv6"],
)
def test_a_network_has_a_limit_of_its_own(
    mates: tuple[str, str], stranger: str, limits: Callable[..., None]
) -> None:
    limits(registration_tries_per_network_day=2)
    assert [ask(new_number(), address=mate).status_code for mate in mates] == [202, 202]
    assert_problem(ask(new_number(), address=mates[0]), "rate_limited", 429)
    assert ask(new_number(), address=stranger).status_code == 202


def test_networks() -> None:
    assert guards.network_of("192.0.2.7") == "192.0.2.0/24"
    assert guards.network_of("2001:db8:1:2::/64") == "2001:db8:1::/48"
    assert guards.network_of("unknown") == "unknown"
