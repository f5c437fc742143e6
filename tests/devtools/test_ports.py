"""Ports: shared out between processes, and one that was free when it was chosen and is not when it is bound."""

from __future__ import annotations

import socket

import pytest

from devtools import ports
from devtools.errors import DevError
from tests.support.stack import System


@pytest.mark.needs_system
def test_a_gateway_whose_private_port_was_taken_starts_on_another() -> None:
    system = System(gateways=1, worker=False)
    chosen = system.stack.private_ports["gateway-1"]
    with socket.create_server(("127.0.0.1", chosen)), system:
        assert system.processes["gateway-1"]
        assert system.stack.private_ports["gateway-1"] != chosen
        assert str(chosen) not in system.gateways["gateway-1"]["ws"]


def test_nobody_is_given_a_port_that_another_was_given_and_does_not_use_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = ports.allowed()
    monkeypatch.setenv(ports.VARIABLE, f"{whole.stop - 20}-{whole.stop - 1}")
    free = sum(map(ports.is_free, range(whole.stop - 20, whole.stop)))
    monkeypatch.setattr(ports, "_given", set())
    assert len({ports.choose() for _ in range(free - 1)}) == free - 1


def test_the_processes_of_a_run_choose_from_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ports.VARIABLE, raising=False)
    assert [ports.share(index, 2) for index in range(3)] == [
        range(20_000, 26_000),
        range(26_000, 32_000),
        range(20_000, 26_000),  # one that takes the place of the first
    ]
    monkeypatch.setenv(ports.VARIABLE, "24500-24999")
    assert ports.share(1, 2) == range(24_750, 25_000)
    monkeypatch.setenv(ports.VARIABLE, "24500")
    with pytest.raises(DevError, match="WHATSAPP_PORTS"):
        ports.choose()
