"""What stands before a code is sent: proofs of work, CAPTCHAs, the risk of a number, conversion by prefix, caps and switches."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import select
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from accounts.guards import calls, prefixes, traffic, work
from accounts.guards.traffic import State
from accounts.models import LimitHit, SmsEvent, SmsPrefix, VerificationCode
from accounts.services import guards
from tests.accounts.conftest import Api, assert_problem, code_for, give, messages_to, new_number, sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

MINUTE = 60_000
_numbers = itertools.count(random.SystemRandom().randrange(1_000_000, 5_000_000))


def mobile(begin: str = "+49151") -> str:
    """A valid German mobile number."""
    return f"{begin}{next(_numbers) + 10_000_000:08}"


def ask(phone: str, answer: str = "", address: str = "192.0.2.7", **fields: Any) -> Any:
    body = {"phoneNumber": phone, **fields}
    if answer:
        body["challengeAnswer"] = answer
    return Api().post("/auth/register", body, REMOTE_ADDR=address)


def challenge_of(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = assert_problem(answer, "forbidden", 403)["details"]["challenge"]
    return found


def solve(challenge: dict[str, Any]) -> str:
    seed, bits = challenge["seed"], challenge["bits"]
    for number in itertools.count():
        answer = f"{seed}:{number}"
        if int(hashlib.sha256(answer.encode()).hexdigest(), 16) < 1 << (256 - bits):
            return answer
    raise AssertionError


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


# -- services of others -----------------------------------------------------------------------------------------------------


class Service:
    """A real HTTP server. ``answer``: of a request's fields the status and the object."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], tuple[int, Any]] = lambda fields: (200, {})
        self.hold = threading.Event()
        self.hold.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                if self.headers["Content-Type"].startswith("application/json"):
                    fields = {**json.loads(text), "authorization": self.headers["Authorization"]}
                else:
                    fields = {name: values[0] for name, values in parse_qs(text).items()}
                service.asked.append(fields)
                service.hold.wait(30)
                status, said = service.answer(fields)
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/siteverify"

    def stop(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


@pytest.fixture
def captcha(service: Service, settings: Any) -> Service:
    settings.REGISTRATION_CHALLENGE = "always"
    settings.REGISTRATION_CAPTCHA = "accounts.guards.captcha.SiteVerify"
    settings.CAPTCHA_SITE_KEY, settings.CAPTCHA_SECRET = "site", "ours"
    settings.CAPTCHA_VERIFY_URL = service.url
    settings.CAPTCHA_HOSTNAMES = ["chat.example"]

    def answer(fields: dict[str, Any]) -> tuple[int, Any]:
        if fields["secret"] != "ours":
            return 200, {"success": False, "error-codes": ["invalid-input-secret"]}
        if fields["response"] == "elsewhere":
            return 200, {"success": True, "hostname": "evil.example"}
        if fields["response"] != "right":
            return 200, {"success": False, "error-codes": ["invalid-input-response"]}
        return 200, {"success": True, "hostname": "chat.example"}

    service.answer = answer
    return service


def test_a_captcha_is_asked_for_and_verified(captcha: Service) -> None:
    phone = new_number()
    assert challenge_of(ask(phone)) == {"kind": "captcha", "provider": "turnstile", "siteKey": "site"}
    assert captcha.asked == [], "nobody is asked about nothing"
    challenge_of(ask(phone, "wrong"))
    challenge_of(ask(phone, "elsewhere"))
    assert messages_to(phone) == []
    assert ask(phone, "right").status_code == 202
    assert captcha.asked[-1] == {"secret": "ours", "response": "right", "remoteip": "192.0.2.7"}
    assert ask(new_number(), captcha="right").status_code == 202, "under the name that it has always had"


@pytest.mark.parametrize(
    "said",
    [(500, {}), (200, b"<html>"), (200, []), (200, b"[" * 100_000), (302, {})],
    ids=["500", "html", "list", "much", "elsewhere"],
)
@pytest.mark.parametrize(("fails", "status"), [("closed", 503), ("open", 202)])
def test_a_provider_that_makes_no_sense(
    said: tuple[int, Any], fails: str, status: int, captcha: Service, settings: Any
) -> None:
    settings.CAPTCHA_FAILS = fails
    captcha.answer = lambda fields: said
    assert ask(new_number(), "right").status_code == status


@pytest.mark.parametrize(("fails", "status"), [("closed", 503), ("open", 202)])
def test_a_provider_that_is_silent_or_away(fails: str, status: int, captcha: Service, settings: Any) -> None:
    settings.CAPTCHA_FAILS, settings.GUARD_TIMEOUT_MS = fails, 300
    captcha.hold.clear()
    assert ask(new_number(), "right").status_code == status
    settings.CAPTCHA_VERIFY_URL = "http://127.0.0.1:1/siteverify"
    assert ask(new_number(), "right").status_code == status


class Dripping:
    """A provider that answers a byte at a time, each well in time, for as long as somebody listens: ``part`` of the answer is
    what drips. ``whole``: it came to its end."""

    def __init__(self, part: str) -> None:
        said = json.dumps({"success": True, "hostname": "chat.example"}).encode()
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n" % len(said)
        padding = b"X-Padding: " + b"x" * 45 + b"\r\n"
        self.whole = False
        self.fast, self.slow = {"head": (head, padding + b"\r\n" + said), "body": (head + b"\r\n", said)}[
            part
        ]
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/siteverify"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with self.listener, self.listener.accept()[0] as connection:
            with connection.makefile("rb") as asked:
                length = next(int(line[15:]) for line in asked if line.lower().startswith(b"content-length:"))
                next(line for line in asked if line == b"\r\n")
                asked.read(length)
            connection.sendall(self.fast)
            try:
                for byte in self.slow:
                    if select.select([connection], [], [], 0.025)[0]:
                        return  # nobody listens any more
                    connection.sendall(bytes((byte,)))
            except OSError:
                return
            self.whole = True


@pytest.mark.parametrize("part", ["head", "body"])
@pytest.mark.parametrize(("fails", "status"), [("closed", 503), ("open", 202)])
def test_a_provider_that_drips_is_bounded_as_a_whole(
    part: str, fails: str, status: int, captcha: Service, settings: Any
) -> None:
    settings.CAPTCHA_FAILS, settings.GUARD_TIMEOUT_MS = fails, 500
    provider = Dripping(part)
    settings.CAPTCHA_VERIFY_URL = provider.url
    assert ask(new_number(), "right").status_code == status
    provider.thread.join(30)
    assert not provider.whole, "it was cut off"
    # ... and holds no place of those that may be asked at once.
    for _ in range(settings.GUARD_AT_ONCE):
        assert calls._AT_ONCE.acquire(timeout=30)
    for _ in range(settings.GUARD_AT_ONCE):
        calls._AT_ONCE.release()


@pytest.mark.parametrize("part", ["head", "body"])
def test_twin_bounded_by_reads_alone_it_is_waited_for(
    part: str, captcha: Service, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GUARD_TIMEOUT_MS = 500
    monkeypatch.setattr(calls, "_rest", lambda until: None)
    provider = Dripping(part)
    settings.CAPTCHA_VERIFY_URL = provider.url
    assert ask(new_number(), "right").status_code == 202
    provider.thread.join(30)
    assert provider.whole


def test_a_name_that_nobody_resolves_is_not_waited_for(
    captcha: Service, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def resolve(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        answered.wait(30)
        raise socket.gaierror("no answer")

    settings.GUARD_TIMEOUT_MS = 200
    with monkeypatch.context() as patched:
        patched.setattr(socket, "create_connection", resolve)
        answer = ask(new_number(), "right")
    assert_problem(answer, "unavailable", 503)
    assert asked.is_set()
    answered.set()


def test_a_provider_that_failed_says_nothing_about_who_asks(captcha: Service) -> None:
    captcha.answer = lambda fields: (200, {"success": False, "error-codes": ["internal-error"]})
    assert_problem(ask(new_number(), "right"), "unavailable", 503)


def test_a_wrong_secret_of_ours_is_not_the_clients_fault(captcha: Service, settings: Any) -> None:
    settings.CAPTCHA_SECRET = "another"
    assert_problem(ask(new_number(), "right"), "unavailable", 503)


# -- risk -------------------------------------------------------------------------------------------------------------------


def test_the_table_of_risks(settings: Any, tmp_path: Path, limits: Callable[..., None]) -> None:
    limits(work_bits=4)
    file = tmp_path / "risk.json"
    file.write_text(json.dumps({"+49151": 60, "491511": 95, "491512": 0}))
    settings.REGISTRATION_CHALLENGE, settings.PHONE_RISK = "suspicious", "accounts.guards.risk.TableRisk"
    settings.PHONE_RISK_FILE = str(file)
    refused = assert_problem(ask("+4915112345678"), "forbidden", 403)
    assert refused["details"] == {"field": "phoneNumber"}
    assert ask("+4915122345678").status_code == 202
    phone = "+4915142345678"
    assert ask(phone, solve(challenge_of(ask(phone)))).status_code == 202
    assert_problem(ask("+499001234567"), "forbidden", 403)  # a premium rate of the numbering plan
    settings.PHONE_RISK_FILE = str(tmp_path / "none.json")
    assert_problem(ask("+4915122345679"), "unavailable", 503)
    settings.PHONE_RISK_FAILS = "open"
    assert ask("+4915122345679").status_code == 202


def test_a_service_for_risks(service: Service, settings: Any) -> None:
    settings.PHONE_RISK, settings.PHONE_RISK_URL = "accounts.guards.risk.HttpRisk", service.url
    settings.PHONE_RISK_TOKEN = "bearer-of-the-service"
    phone = mobile()
    service.answer = lambda fields: (200, {"score": 90})
    assert_problem(ask(phone), "forbidden", 403)
    assert service.asked == [
        {"phoneNumber": phone, "address": "192.0.2.7", "authorization": "Bearer bearer-of-the-service"}
    ]
    service.answer = lambda fields: (200, {"score": 89.0})
    assert ask(phone).status_code == 202, "nobody is challenged without a policy"
    for nonsense in ("90", True, -1, 101, None):
        service.answer = lambda fields, score=nonsense: (200, {"score": score})
        assert_problem(ask(phone), "unavailable", 503)
    service.answer = lambda fields: (200, b"[" * 60_000)  # deeper than anybody reads
    assert_problem(ask(phone), "unavailable", 503)


# -- pumping ----------------------------------------------------------------------------------------------------------------


def history(prefix: str, sent: int, back: int, ago_ms: int = 30 * MINUTE, failed: int = 0) -> None:
    at = now_ms() - ago_ms
    for kind, number in (("sent", sent), ("verified", back), ("failed", failed)):
        SmsEvent.objects.bulk_create(
            SmsEvent(prefix=prefix, at=at, kind=kind, units=50 if kind == "sent" else 0)
            for _ in range(number)
        )


def test_codes_are_counted_by_prefix_as_they_go_out_and_come_back(clock: Callable[[int], None]) -> None:
    phone = mobile()
    assert ask(phone).status_code == 202
    clock(MINUTE)
    assert give(phone, code_for(phone)).status_code == 200
    sent_at = SmsEvent.objects.get(kind="sent").at
    assert list(SmsEvent.objects.order_by("kind").values_list("prefix", "kind", "at", "units")) == [
        ("49151", "sent", sent_at, 50),
        ("49151", "verified", sent_at, 0),
    ]
    sign_in()
    assert SmsEvent.objects.count() == 2, "nothing is sent to test numbers"


def test_a_centre_that_is_away_speaks_against_nobody(settings: Any) -> None:
    settings.SMS_SENDER = "accounts.sms.NoSender"
    assert_problem(ask(mobile()), "unavailable", 503)
    assert sorted(SmsEvent.objects.values_list("kind", "units")) == [("failed", 0), ("sent", 50)]
    history("49152", sent=40, back=0, failed=40)
    assert traffic.judge("+4915212345678", now_ms()).state is State.NORMAL


@pytest.mark.parametrize(
    ("sent", "back", "state"),
    [
        (29, 0, State.NORMAL), (100, 50, State.NORMAL), (100, 49, State.SLOWED), (100, 30, State.SLOWED),
        (100, 29, State.CHALLENGED), (100, 10, State.CHALLENGED), (100, 9, State.BLOCKED), (30, 0, State.BLOCKED),
    ],
)  # fmt: skip
def test_conversion_judges_a_prefix(sent: int, back: int, state: State) -> None:
    history("49151", sent, back)
    assert traffic.judge(mobile(), now_ms()).state is state
    assert traffic.judge(mobile("+49160"), now_ms()).state is State.NORMAL, "another prefix"


def test_codes_that_may_still_come_back_say_nothing() -> None:
    history("49151", 100, 0, ago_ms=9 * MINUTE)
    assert traffic.judge(mobile(), now_ms()).state is State.NORMAL


def test_a_slowed_prefix_gets_few_an_hour(limits: Callable[..., None]) -> None:
    limits(sms_slowed_per_hour=2)
    history("49151", 100, 40)
    assert [ask(mobile()).status_code for _ in range(2)] == [202, 202]
    assert_problem(ask(mobile()), "rate_limited", 429)
    assert ask(mobile("+49160")).status_code == 202


def test_a_challenged_prefix_has_to_solve(settings: Any, limits: Callable[..., None]) -> None:
    settings.REGISTRATION_CHALLENGE = "suspicious"
    limits(work_bits=4)
    history("49151", 100, 20)
    phone = mobile()
    assert ask(phone, solve(challenge_of(ask(phone)))).status_code == 202


def test_a_blocked_prefix_opens_again_and_is_watched(clock: Callable[[int], None]) -> None:
    history("49151", 100, 0)
    phone = mobile()
    wait = assert_problem(ask(phone), "unavailable", 503)["retryAfterMs"]
    assert 3 * 60 * MINUTE < wait <= 4 * 60 * MINUTE
    assert messages_to(phone) == []
    row = SmsPrefix.objects.get()
    assert (row.prefix, row.mode, row.by) == ("49151", "auto", "automatic")
    SmsEvent.objects.all().delete()
    assert_problem(ask(phone), "unavailable", 503)
    clock(wait + 1)
    assert ask(phone).status_code == 202
    later = now_ms() + wait + 1
    assert traffic.judge(phone, later).state is State.CHALLENGED, "it has to show itself first"
    assert traffic.judge(phone, later + traffic.WINDOW_MS).state is State.NORMAL


def test_sessions_of_a_blocked_prefix_live_on() -> None:
    phone = mobile()
    person = sign_in(phone)
    SmsPrefix.objects.create(prefix="", mode="off", changed_at=now_ms())
    assert person.api.get("/me").status_code == 200
    assert_problem(ask(mobile()), "unavailable", 503)


@pytest.mark.parametrize("prefix", ["", "4", "49", "49151", "491511"])
def test_the_switch_of_a_prefix(prefix: str) -> None:
    SmsPrefix.objects.create(prefix=prefix, mode="off", changed_at=now_ms())
    assert_problem(ask("+4915112345678"), "unavailable", 503)
    others = ask("+4915122345678").status_code
    assert others == (202 if prefix == "491511" else 503)


def test_a_prefix_that_staff_trust_is_not_judged_but_paid_for(limits: Callable[..., None]) -> None:
    history("49151", 100, 0)
    SmsPrefix.objects.create(prefix="49", mode="on", changed_at=now_ms())
    assert ask(mobile()).status_code == 202
    limits(sms_units_per_prefix_day=100)
    assert_problem(ask(mobile()), "unavailable", 503)


def test_caps_of_spending(
    settings: Any, tmp_path: Path, limits: Callable[..., None], clock: Callable[[int], None]
) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"": 10, "+49": 70}))
    settings.SMS_PRICES = str(file)
    limits(sms_units_per_prefix_day=140, sms_units_per_day=225)
    assert [ask(mobile()).status_code for _ in range(3)] == [202, 202, 503], "140 of the prefix"
    assert ask(mobile("+49160")).status_code == 202
    assert ask("+14155552671").status_code == 202
    assert_problem(ask("+14155552672"), "unavailable", 503)
    assert ask(new_number()).status_code == 202, "costs nothing"
    clock(24 * 60 * MINUTE)
    assert ask(mobile()).status_code == 202


def test_without_its_table_of_prices_nothing_is_sent(settings: Any, tmp_path: Path) -> None:
    settings.SMS_PRICES = str(tmp_path / "none.json")
    phone = mobile()
    for text in (None, "[]", '{"49": "much"}', "{"):
        if text is not None:
            (tmp_path / "none.json").write_text(text)
        assert_problem(ask(phone), "unavailable", 503)
    assert messages_to(phone) == []


def test_prefixes() -> None:
    assert prefixes.prefix_of("+4915112345678") == "49151"
    assert prefixes.prefix_of("+14155552671") == "1415"
    assert prefixes.prefix_of("+390612345678") == "39061"
    assert prefixes.beginnings("+491") == ["491", "49", "4", ""]


def test_nothing_personal_is_kept() -> None:
    phone = mobile()
    ask(phone)
    VerificationCode.objects.all().delete()
    kept = repr([*SmsEvent.objects.values(), *SmsPrefix.objects.values(), *LimitHit.objects.values()])
    assert phone[4:] not in kept
