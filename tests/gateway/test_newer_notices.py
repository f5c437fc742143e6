"""What a process of the next version says over the bus to a gateway of this one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chats.gateway import Gateway
from delivery.session import Session, State
from tests.gateway.phone import new_id
from whatsapp.wire.codec import JSON, PROTOBUF
from whatsapp.wire.downgrades import DOWNGRADES
from whatsapp.wire.frames import Notice


class _Outlet:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


class _Told:
    def __init__(self, *sessions: Any) -> None:
        self.called: list[str] = []
        self.node: Any = SimpleNamespace(
            hub=SimpleNamespace(of=lambda user: sessions),
            sessions=None,
            roster=SimpleNamespace(forget_devices=lambda user: self.called.append("devices")),
            silence=None,
            requests=None,
        )
        self.own_limits: Any = SimpleNamespace(changed=lambda user: self.called.append("limits"))


@pytest.fixture
def devices() -> list[tuple[Any, _Outlet]]:
    """Of one user, that of protobuf first."""
    made = []
    for codec in (PROTOBUF, JSON):
        outlet: Any = _Outlet()
        session = Session(new_id(), new_id(), codec, outlet, 1)
        session.state = State.READY
        made.append((session, outlet))
    return made


def test_a_notice_that_nobody_knows_yet_is_told_to_no_device_and_stops_nothing(devices: Any) -> None:
    sessions = [session for session, _ in devices]
    told = _Told(*sessions)
    newer = {"type": "notice", "kind": "of the version after", "data": {"a": 1}}
    Gateway.on_layer(told, ("user", newer))  # type: ignore[arg-type]
    assert [outlet.written for _, outlet in devices] == [[], []]
    assert told.called == ["devices"], "what else follows from an event does"
    known = {"type": "notice", "kind": "limited", "data": {"kind": None, "until": None, "appealUrl": ""}}
    Gateway.on_layer(told, ("user", known))  # type: ignore[arg-type]
    assert [len(outlet.written) for _, outlet in devices] == [1, 1]


@pytest.mark.parametrize("kind", ["limited", "export"])
@pytest.mark.parametrize("version", ["3.0", "3.1"])
def test_older_clients_are_not_told_what_they_do_not_know(kind: Any, version: str) -> None:
    assert DOWNGRADES[version][Notice](Notice(kind, {})) is None
