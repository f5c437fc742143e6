"""What the gateways are told once a transaction has committed, so that live sockets follow within a second.

A lost event is found by the gateways' own check of all sessions each 60 s; so an unreachable bus fails no request.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from whatsapp.infra.bus import LIMIT_CLASS, PROFILE, VISIBILITY
from whatsapp.infra.layer import BusLayer

log = logging.getLogger(__name__)


def _send(user_id: str, event: dict[str, Any]) -> None:
    def send() -> None:
        try:
            async_to_sync(get_channel_layer().group_send)(f"user.{user_id}", event)
        except Exception:
            log.exception("event %s was not published", event["type"])

    transaction.on_commit(send)


def _send_each(user_ids: Sequence[str], event: dict[str, Any]) -> None:
    async def each() -> None:
        layer = get_channel_layer()
        if isinstance(layer, BusLayer):
            await layer.tell(user_ids, event)
            return
        for user_id in user_ids:
            await layer.group_send(f"user.{user_id}", event)

    def send() -> None:
        try:
            async_to_sync(each)()
        except Exception:
            log.exception("event %s was not published", event["type"])

    if user_ids:
        transaction.on_commit(send)


def device_removed(*, user_id: str, device_id: str) -> None:
    """Close 4410 on this device."""
    _send(user_id, {"type": "device.removed", "deviceId": device_id})


def session_revoked(*, user_id: str, device_id: str, session_from: int | None = None) -> None:
    """Close 4401 on this device; with ``session_from`` (ms) only sockets whose token was issued before."""
    event: dict[str, Any] = {"type": "session.revoked", "deviceId": device_id}
    if session_from is not None:
        event["sessionFrom"] = session_from
    _send(user_id, event)


def user_banned(*, user_id: str, until: int, sanction: str = "") -> None:
    """``error banned`` and close 4403 on all devices; ``until`` in ms. ``sanction``: against which they can appeal."""
    event: dict[str, Any] = {"type": "user.banned", "until": until}
    if sanction:
        event["sanction"] = sanction
    _send(user_id, event)


def device_banned(*, user_id: str, device_id: str, until: int) -> None:
    """``error banned`` and close 4403 on this device; ``until`` in ms."""
    _send(user_id, {"type": "device.banned", "deviceId": device_id, "until": until})


def notice(*, user_id: str, kind: str, data: dict[str, Any], but: str = "", only: str = "") -> None:
    """A ``notice`` frame on all devices, except the device ``but``; or on the device ``only``."""
    event: dict[str, Any] = {"type": "notice", "kind": kind, "data": data}
    if but:
        event["but"] = but
    if only:
        event["only"] = only
    _send(user_id, event)


def notices(*, user_ids: Sequence[str], kind: str, data: dict[str, Any]) -> None:
    """The same ``notice`` frame on all devices of several users."""
    _send_each(user_ids, {"type": "notice", "kind": kind, "data": data})


def devices_changed(*, user_id: str) -> None:
    """What :mod:`accounts.envelope_devices` says of this user is different now: a device was unlinked, or has other
    keys or another registration id. All gateways hear of it: any may be about to send to these devices."""

    async def everybody() -> None:
        layer = get_channel_layer()
        if isinstance(layer, BusLayer):
            await layer.tell_all([user_id])

    def send() -> None:
        try:
            async_to_sync(everybody)()
        except Exception:
            log.exception("a change of devices was not published")

    transaction.on_commit(send)


def limits_changed(*, user_id: str) -> None:
    """An account has other limits, or is of another class: its sockets go by them within a second. Lost, they do at the check of
    the sessions, each 60 s."""
    _send(user_id, {"type": "limits.changed"})


def limit_class_changed(*, limit_class: str) -> None:
    """A class has other limits. All gateways hear of it: any may have sessions of such accounts. Lost, as above."""

    async def everybody() -> None:
        layer = get_channel_layer()
        if isinstance(layer, BusLayer):
            await layer.tell_all([limit_class], LIMIT_CLASS)

    def send() -> None:
        try:
            async_to_sync(everybody)()
        except Exception:
            log.exception("a change of a class of limits was not published")

    transaction.on_commit(send)


def blocks_changed(*, user_ids: Sequence[str]) -> None:
    """A block between these two began or ended: neither is told receipts of the other while it is in force."""
    if isinstance(get_channel_layer(), BusLayer):
        _send_each(user_ids, {"type": "blocks.changed"})


def reads_changed(*, user_ids: Sequence[str]) -> None:
    """These show to others than before what they have read, and so are shown it of others."""
    if isinstance(get_channel_layer(), BusLayer):
        _send_each(user_ids, {"type": "reads.changed"})


def request_accepted(*, conversation_id: str, user_id: str, other_id: str) -> None:
    """The user has accepted the other one, who may be told from now on how far the user is."""
    if isinstance(get_channel_layer(), BusLayer):
        accepted = [conversation_id, user_id, other_id]
        _send_each([user_id, other_id], {"type": "request.accepted", "accepted": accepted})


def visibility_changed(*, user_ids: Sequence[str]) -> None:
    """Who follows these users is looked at again, where they are followed. Lost, it takes until the follower asks anew: 300 s."""
    _tell_followers(user_ids, VISIBILITY)


def profile_changed(*, user_id: str) -> None:
    """``notice profile_changed`` to those who follow the user. Lost, or not followed, it takes what clients keep: an hour."""
    _tell_followers([user_id], PROFILE)


def _tell_followers(user_ids: Sequence[str], topic: str) -> None:
    async def followers() -> None:
        layer = get_channel_layer()
        if isinstance(layer, BusLayer):
            await layer.tell_followers(user_ids, topic)

    def send() -> None:
        try:
            async_to_sync(followers)()
        except Exception:
            log.exception("a change (%s) was not published", topic)

    if user_ids:
        transaction.on_commit(send)
