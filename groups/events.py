"""What a group's log says about the group. Devices see it as ``event`` frames; names in ``data`` are as clients read them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from delivery.store.values import Change
from groups.models import Group, Icon, Role, Who

_encode: Final = msgspec.msgpack.Encoder(order="sorted").encode


def _extra(user: str = "", **data: Any) -> bytes:
    return _encode({"user_id": user, **data} if user else data)


def settings_of(group: Group) -> dict[str, str]:
    return {"whoSends": group.who_sends, "whoEdits": group.who_edits, "whoAdds": group.who_adds}


def icon_of(icon: Icon | None) -> dict[str, str] | None:
    """What says whether a client has the group's picture already, and where it is."""
    return None if icon is None else {"url": f"/groups/{icon.group_id}/icon", "version": icon.digest}


def created(group: Group, creator: str, others: Iterable[str]) -> list[Change]:
    """The first two events: everybody is in it from seq 1, and what it is called."""
    members = (creator, *others)
    return [
        Change(
            _id(),
            "member_added",
            _extra(userIds=list(members), creatorId=creator),
            joins=members,
            speak=(creator,),
            restricted=group.who_sends == Who.ADMINS,
        ),
        Change(
            _id(),
            "info",
            _extra(name=group.name, description=group.description, settings=settings_of(group)),
        ),
    ]


def added(users: Iterable[str], **data: Any) -> Change:
    """One user, or several at once (``userIds``)."""
    joins = tuple(users)
    extra = _extra(joins[0], **data) if len(joins) == 1 else _extra(userIds=list(joins), **data)
    return Change(_id(), "member_added", extra, joins=joins)


def removed(user: str) -> Change:
    """They were removed, or left when they are the actor themselves."""
    return Change(_id(), "member_removed", _extra(user), leaves=(user,))


def role(user: str, role: str) -> Change:
    admin = role in (Role.CREATOR, Role.ADMIN)
    return Change(
        _id(),
        "role",
        _extra(user, role=str(role)),
        speak=(user,) if admin else (),
        listen=() if admin else (user,),
    )


def info(changed: dict[str, Any], restricted: bool | None) -> Change:
    """``changed``: what is different now of name, description, settings and icon."""
    return Change(_id(), "info", _extra(**changed), restricted=restricted)


def dissolved(members: Iterable[str]) -> Change:
    """The last event: with it everybody leaves."""
    return Change(_id(), "info", _extra(dissolved=True), leaves=tuple(members))


def _id() -> str:
    return str(uuid.uuid4())
