"""A block and the direct conversation of the two: whichever comes first, and both at once."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from delivery.store.sync import store
from delivery.store.values import Send
from tests.accounts.conftest import Person, at_once
from tests.chats.conftest import open_direct
from tests.gateway.phone import new_id
from tests.groups.conftest import sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)


def say(sender: Person, conversation: str) -> bool:
    """Whether it was withheld."""
    sent = Send(conversation, sender.user_id, sender.device_id, new_id(), "text", b"x", b"\0" * 16, 1)
    (result,) = store.append(new_id(), [sent], now_ms()).results
    return result.withheld


def block(owner: Person, user: Person, on: bool = True) -> int:
    call: Any = owner.api.put if on else owner.api.delete
    status: int = call(f"/blocks/{user.user_id}").status_code
    return status


def test_a_block_before_and_after_the_conversation_was_opened() -> None:
    ann, bob = sign_in(), sign_in()
    assert block(bob, ann) == 204
    talk = open_direct(ann, bob)
    assert open_direct(bob, ann) == talk
    assert say(ann, talk)
    assert not say(bob, talk)
    assert block(ann, bob) == 204
    assert say(bob, talk)
    assert block(bob, ann, on=False) == block(bob, ann, on=False) == 204
    assert not say(ann, talk)
    assert say(bob, talk)


def test_a_block_that_was_taken_back_before_leaves_nothing() -> None:
    ann, bob = sign_in(), sign_in()
    block(bob, ann)
    block(bob, ann, on=False)
    assert not say(ann, open_direct(ann, bob))


def test_a_block_makes_no_conversation() -> None:
    ann, bob = sign_in(), sign_in()
    block(bob, ann)
    for person in (ann, bob):
        assert person.api.get("/conversations").json()["items"] == []


def test_opening_and_blocking_at_once_agree() -> None:
    for turn in range(8):
        ann, bob = sign_in(), sign_in()
        if turn % 2:
            block(bob, ann)
        on = turn % 2 == 0
        status, talk = sorted(
            at_once(lambda: open_direct(ann, bob), lambda: block(bob, ann, on=on)),  # noqa: B023
            key=lambda answer: isinstance(answer, str),
        )
        assert status == 204
        assert say(ann, talk) is on
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT active FROM delivery_withheld WHERE conversation = %s AND member = %s",
                [talk, bob.user_id],
            )
            assert cursor.fetchall() in ([(on,)], [] if not on else [(True,)])
