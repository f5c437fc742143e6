"""The SMPP sender against message centres over TCP."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import smpp34

from accounts import sms
from accounts.sms import gsm, smpp
from tests.accounts.conftest import Api, assert_problem
from tests.accounts.smsc import BIND, SUBMIT, Centre, RawCentre, submitted
from tests.support import plain
from whatsapp.infra import metrics

TO, BODY = "+442079460958", "Your verification code is 123456. Do not share it with anyone."


@pytest.fixture
def centre() -> Iterator[Centre]:
    made = Centre()
    yield made
    made.stop()


@pytest.fixture
def raw() -> Iterator[Callable[..., RawCentre]]:
    made: list[RawCentre] = []

    def make(answer: Callable[[int, bytes], int | None] = lambda kind, body: 0) -> RawCentre:
        made.append(RawCentre(answer))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def use(settings: Any) -> Iterator[Callable[..., None]]:
    """``use(port, …, timeout_ms=…)``: the centres of the sender, in order."""

    def configure(*numbers: int, timeout_ms: int = 5_000, **more: Any) -> None:
        settings.SMS_SENDER = "accounts.sms.smpp.SmppSender"
        settings.SMPP_HOSTS = [("127.0.0.1", number) for number in numbers]
        settings.SMPP_SYSTEM_ID, settings.SMPP_PASSWORD, settings.SMPP_SOURCE = "chat", "secret", "Chat"
        settings.SMPP_TIMEOUT_MS = timeout_ms
        for name, value in more.items():
            setattr(settings, name, value)
        smpp.close()

    yield configure
    smpp.close()


def until(condition: Callable[[], bool], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def counted(kind: str, label: str) -> float:
    family = metrics._counted.get(kind)
    return family.values.get((label,), 0) if family else 0


def test_a_message_arrives_as_it_was_meant(centre: Centre, use: Any) -> None:
    use(centre.port)
    sms.send(to=TO, body=BODY)
    (message,) = centre.submitted
    assert message.short_message == BODY.encode("ascii")
    assert (message.destination_addr, message.dest_addr_ton, message.dest_addr_npi) == ("442079460958", 1, 1)
    assert (message.source_addr, message.source_addr_ton, message.source_addr_npi) == ("Chat", 5, 0)
    assert (message.data_coding, message.esm_class, message.registered_delivery) == (0, 0, 1)
    assert next(iter(centre.bound.values())).system_id == "chat"


@pytest.mark.parametrize(
    ("source", "address", "ton", "npi"),
    [("+15550001", "15550001", 1, 1), ("12345", "12345", 3, 0), ("447700900001", "447700900001", 1, 1)],
)
def test_the_sender_has_the_type_of_its_address(
    source: str, address: str, ton: int, npi: int, centre: Centre, use: Any
) -> None:
    use(centre.port, SMPP_SOURCE=source)
    sms.send(to=TO, body=BODY)
    (message,) = centre.submitted
    assert (message.source_addr, message.source_addr_ton, message.source_addr_npi) == (address, ton, npi)


def test_other_scripts_go_as_ucs2(centre: Centre, use: Any) -> None:
    use(centre.port)
    body = sms.verification("123456", phone="+966501234567")
    sms.send(to="+966501234567", body=body)
    (message,) = centre.submitted
    assert message.data_coding == gsm.UCS2
    assert message.short_message.decode("utf-16-be") == body


def test_a_long_text_goes_in_parts_that_the_handset_joins(centre: Centre, use: Any) -> None:
    use(centre.port)
    body = "Ü" * 100 + "ж" * 50
    sms.send(to=TO, body=body)
    parts = [message.short_message for message in centre.submitted]
    assert len(parts) == 3
    assert all(message.esm_class == 0x40 for message in centre.submitted)
    assert [part[:3] + part[4:6] for part in parts] == [bytes([5, 0, 3, 3, n]) for n in (1, 2, 3)]
    assert len({part[3] for part in parts}) == 1
    assert b"".join(part[6:] for part in parts).decode("utf-16-be") == body


def test_one_bind_serves_many_threads_and_messages(centre: Centre, use: Any) -> None:
    use(centre.port)
    threads = [
        threading.Thread(target=lambda n=n: sms.send(to=f"+44770090{n:04}", body=BODY)) for n in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(message.destination_addr for message in centre.submitted) == [
        f"44770090{n:04}" for n in range(30)
    ]
    assert centre.binds == 1


def test_a_lost_bind_is_made_again(raw: Any, use: Any) -> None:
    centre = raw()
    use(centre.port)
    sms.send(to=TO, body=BODY)
    centre.hang_up()
    sms.send(to=TO, body=BODY)
    assert [kind for kind, _ in centre.seen if kind in (BIND, SUBMIT)] == [BIND, SUBMIT, BIND, SUBMIT]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 64,  # a length of 4 GiB
        b"\x00\x00\x00\x00" * 16,  # of nothing
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes.fromhex("00000010 80000004 00000000 7fffffff"),  # an answer to what was never asked
        bytes.fromhex("00000010 00000005 00000000 00000001"),  # a deliver_sm without a body
    ],
)
def test_a_centre_that_talks_nonsense_stops_nobody(data: bytes, raw: Any, use: Any) -> None:
    centre = raw()
    use(centre.port, timeout_ms=10_000)
    sms.send(to=TO, body=BODY)
    centre.say(data)
    for _ in range(2):
        sms.send(to=TO, body=BODY)
    assert [kind for kind, _ in centre.seen].count(SUBMIT) >= 3


def test_a_bind_that_ends_while_a_message_waits_for_its_answer_sends_it_again(raw: Any, use: Any) -> None:
    silent = True
    centre: RawCentre = raw(lambda kind, body: None if kind == SUBMIT and silent else 0)
    use(centre.port, timeout_ms=10_000)
    thread = threading.Thread(target=lambda: sms.send(to=TO, body=BODY))
    thread.start()
    until(lambda: SUBMIT in [kind for kind, _ in centre.seen], "no message came")
    silent = False
    centre.hang_up()
    thread.join(10)
    assert not thread.is_alive()
    sent = [submitted(body) for kind, body in centre.seen if kind == SUBMIT]
    assert sent == [("442079460958", BODY.encode())] * 2


def test_a_refused_bind_is_unavailable_and_is_tried_again(raw: Any, use: Any, caplog: Any) -> None:
    wrong_password = True
    centre: RawCentre = raw(lambda kind, body: 0x0E if kind == BIND and wrong_password else 0)
    use(centre.port, timeout_ms=1_500)
    caplog.set_level(logging.INFO)
    with pytest.raises(sms.SmsUnavailable):
        sms.send(to=TO, body=BODY)
    assert not [kind for kind, _ in centre.seen if kind == SUBMIT]
    assert b"chat\0secret\0" in next(body for kind, body in centre.seen if kind == BIND)
    until(lambda: "cannot be bound" in caplog.text, "nobody is told")
    assert "secret" not in caplog.text
    wrong_password = False
    until(lambda: counted("smpp", "bound") > 0 and smpp.link()._bound is not None, "never bound", 20)
    sms.send(to=TO, body=BODY)


def test_the_next_centre_is_taken_when_one_is_away_or_refuses(raw: Any, centre: Centre, use: Any) -> None:
    away = raw()
    away.stop()
    refusing = raw(lambda kind, body: 0x0D if kind == BIND else 0)
    use(away.port, refusing.port, centre.port, timeout_ms=15_000)
    sms.send(to=TO, body=BODY)
    assert len(centre.submitted) == 1


def test_a_centre_that_falls_silent_is_left_in_bounded_time(raw: Any, centre: Centre, use: Any) -> None:
    silent = raw(lambda kind, body: None if kind == SUBMIT else 0)
    use(silent.port, centre.port, timeout_ms=800)
    began = time.monotonic()
    with pytest.raises(sms.SmsUnavailable):
        sms.send(to=TO, body=BODY)
    assert time.monotonic() - began < 8
    until(lambda: centre.binds == 1, "the second centre is not bound")
    until(lambda: smpp.link()._bound is not None, "the bind is not used")
    sms.send(to=TO, body=BODY)
    assert len(centre.submitted) == 1


@pytest.mark.parametrize("status", [smpp34.ESME_RTHROTTLED, smpp34.ESME_RMSGQFUL])
def test_a_busy_centre_is_asked_again_within_the_time(status: int, centre: Centre, use: Any) -> None:
    use(centre.port)
    centre.status = lambda message: status if len(centre.submitted) < 3 else 0
    sms.send(to=TO, body=BODY)
    assert len(centre.submitted) == 3


def test_a_centre_that_stays_busy_is_unavailable(centre: Centre, use: Any) -> None:
    use(centre.port, timeout_ms=1_000)
    centre.status = lambda message: smpp34.ESME_RTHROTTLED
    with pytest.raises(sms.SmsUnavailable):
        sms.send(to=TO, body=BODY)
    assert 1 < len(centre.submitted) < 10


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (smpp34.ESME_RINVDSTADR, sms.SmsRefused),
        (smpp34.ESME_RSYSERR, sms.SmsUnavailable),
        (smpp34.ESME_RINVSRCADR, sms.SmsUnavailable),
    ],
)
def test_other_errors_are_not_repeated(
    status: int, error: type[Exception], raw: Any, use: Any, caplog: Any
) -> None:
    centre = raw(lambda kind, body: status if kind == SUBMIT else 0)
    use(centre.port, timeout_ms=3_000)
    with caplog.at_level(logging.DEBUG), pytest.raises(error) as raised:
        sms.send(to=TO, body=BODY)
    assert [kind for kind, _ in centre.seen].count(SUBMIT) == 1
    for secret in ("2079460958", "123456"):
        assert secret not in caplog.text + str(raised.value)


def test_receipts_are_counted_by_state(centre: Centre, use: Any) -> None:
    use(centre.port)
    shapes = iter(
        [
            {"short_message": b"id:1 sub:001 dlvrd:001 submit date:2611252200 stat:DELIVRD err:000 text:"},
            {"short_message": b"", "tlvs": [smpp34.Tlv(0x0427, b"\x05")]},
            {"short_message": b"stat:NONSENS"},
        ]
    )
    centre.receipt = lambda message, name: next(shapes)
    states = ("delivered", "undeliverable", "unknown")
    before = [counted("sms_receipts", state) for state in states]
    for _ in range(3):
        sms.send(to=TO, body=BODY)
    until(
        lambda: [counted("sms_receipts", state) for state in states] == [value + 1 for value in before],
        "the receipts are not counted",
    )


def test_nobody_waits_for_a_centre_that_is_away(raw: Any, use: Any) -> None:
    away = raw()
    away.stop()
    use(away.port, timeout_ms=500)
    began = time.monotonic()
    with pytest.raises(sms.SmsUnavailable):
        sms.send(to=TO, body=BODY)
    assert time.monotonic() - began < 5


@pytest.mark.django_db
def test_registering_sends_through_the_centre_and_its_refusals_are_answered(centre: Centre, use: Any) -> None:
    use(centre.port, timeout_ms=1_000)
    body = {"phoneNumber": TO}
    assert Api().post("/auth/register", body).status_code == 202
    code = centre.submitted[-1].short_message.decode()[26:32]
    answer = Api().post("/auth/verify", {**body, "code": code, "deviceName": "phone"})
    assert answer.status_code == 200
    centre.status = lambda message: smpp34.ESME_RTHROTTLED
    problem = assert_problem(Api().post("/auth/register", body), "unavailable", 503)
    assert problem["retryAfterMs"] > 0
    centre.status = lambda message: smpp34.ESME_RINVDSTADR
    problem = assert_problem(Api().post("/auth/register", body), "bad_request", 400)
    assert problem["details"] == {"field": "phoneNumber"}


def test_a_gateway_process_sends_by_it_and_unbinds_at_its_end(own_stack: Any, centre: Centre) -> None:
    settings = {
        "SMS_SENDER": "accounts.sms.smpp.SmppSender",
        "SMPP_HOSTS": f"127.0.0.1:{centre.port}",
        "SMPP_SYSTEM_ID": "chat",
        "SMPP_PASSWORD": "secret",
        "SMPP_SOURCE": "Chat",
    }
    system = own_stack(gateways=1, worker=False, env=settings)
    body = {"phoneNumber": TO, "deviceName": "phone"}
    with plain.Client(base_url=system.http, headers={"Accept-Language": "ar"}) as client:
        for _ in range(2):
            assert client.post("/auth/register", json=body).status_code == 202
        text = centre.submitted[-1].short_message.decode("utf-16-be")
        found = re.search(r"\d{6}", text)
        assert found is not None
        assert "رمز" in text
        assert client.post("/auth/verify", json={**body, "code": found[0]}).status_code == 200
    assert centre.binds == 1
    began = time.monotonic()
    system.stop_part("gateway-1")
    assert time.monotonic() - began < 15
    until(lambda: not centre.bound, "the gateway did not unbind")
    log = system.log("gateway-1")
    assert "bound to the message centre" in log
    for secret in ("2079460958", found[0], "secret"):
        assert secret not in log
