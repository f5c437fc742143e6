"""A port that was free when it was chosen and is not when it is bound."""

from __future__ import annotations

import socket

import pytest

from tests.support.stack import System


@pytest.mark.needs_system
def test_a_gateway_whose_private_port_was_taken_starts_on_another() -> None:
    system = System(gateways=1, worker=False)
    chosen = system.stack.private_ports["gateway-1"]
    with socket.create_server(("127.0.0.1", chosen)), system:
        assert system.processes["gateway-1"]
        assert system.stack.private_ports["gateway-1"] != chosen
        assert str(chosen) not in system.gateways["gateway-1"]["ws"]
