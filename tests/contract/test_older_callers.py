"""Between the migration and the end of the last process of the version before, its statements do what they did."""

from __future__ import annotations

import importlib
from typing import Any

from tests.contract.harness import PostgresHarness
from tests.contract.people import T0, People, new_id

_BODY = (
    "%s::bytea, '{0}'::int[], ARRAY[octet_length(%s::bytea) - 16]::int[], '{null}'::int[], '{null}'::int[])"
)
_AMEND = f"""SELECT o_row, o_head, o_seq, o_outcome, o_at, o_expected, o_withheld FROM delivery_amend(
    %s::uuid, %s::bigint, 0::int, false::boolean, ARRAY[%s::uuid], '{{1}}'::int[], ARRAY[%s::uuid], ARRAY[%s::uuid],
    ARRAY[%s::uuid], '{{1}}'::bigint[], '{{0}}'::bigint[], ARRAY['edit']::text[], ARRAY[%s::uuid], '{{0}}'::bigint[],
    '{{20}}'::int[], {_BODY}"""
_APPEND = f"""SELECT o_row, o_head, o_seq, o_outcome, o_at, o_expected, o_withheld FROM delivery_append(
    %s::uuid, %s::bigint, 0::int, false::boolean, ARRAY[%s::uuid], '{{1}}'::int[], ARRAY[%s::uuid], ARRAY[%s::uuid],
    ARRAY[%s::uuid], '{{1}}'::bigint[], NULL::bigint[], ARRAY['text']::text[], NULL::int[], NULL::int[], NULL::int[],
    NULL::int[], NULL::boolean[], NULL::int[], NULL::int[], {_BODY}
    CROSS JOIN LATERAL delivery_keep_until(
    o_head, o_seq, o_outcome, '{{1}}'::int[], ARRAY[%s::uuid], '{{1}}'::int[], '{{1}}'::int[], ARRAY[%s::bigint])"""


async def test_statements_of_the_version_before(contract_url: str) -> None:
    async with PostgresHarness(contract_url) as harness:
        people = await People(harness.store).meet()
        conversation, message = people.conversation, new_id()

        async def run(statement: str, id_: str, content: bytes, *more: Any) -> list[Any]:
            body = b"\0" * 16 + content
            place = (people.writer, T0, conversation, people.alice, people.phone, id_)
            ((_, *rest),) = await harness.sql(
                statement, *place, *(more if statement is _AMEND else ()), body, body,
                *(more if statement is _APPEND else ()),
            )  # fmt: skip
            return rest

        # Until when it is kept was a time, not how long.
        appended = await run(_APPEND, message, b"v0", conversation, T0 + 60_000)
        assert appended == [[0], None, None, None, None, None]
        amended = await run(_AMEND, new_id(), b"v1", message)
        assert amended[1:4] == [[2], [0], [T0]]
        first, edit = await people.read(people.bob)
        assert (first.content, first.edited, first.until) == (b"v1", True, T0 + 60_000)
        assert (edit.content, edit.until) == (b"v1", T0 + 60_000)


async def test_what_was_kept_for_a_while_before_says_so(contract_url: str) -> None:
    """More than one transaction's worth, with what is about it; what has no end, or has one by now, stays as it is."""
    async with PostgresHarness(contract_url) as harness:
        people = await People(harness.store).meet()
        sends = [people.send(body=b"%d" % number, lasts=60_000) for number in range(600)]
        await people.append(*sends, kept := people.send(body=b"kept"))
        reaction = people.amend(sends[0].message_id, "reaction", b"x")
        await people.append(reaction, people.amend(kept.message_id, "reaction", b"x"))
        await people.append(people.amend(sends[1].message_id, "delete"))
        where = "WHERE conversation = %s AND seq <> 3"
        await harness.sql(f"UPDATE delivery_event SET until = NULL {where}", people.conversation)
        await harness.sql(
            f"UPDATE delivery_event SET until = 7 {where.replace('<>', '=')}", people.conversation
        )
        await harness.sql(importlib.import_module("delivery.migrations.0017_until_of_old").KNOWN)
        found = await harness.sql(
            "SELECT seq, until FROM delivery_event WHERE conversation = %s ORDER BY seq", people.conversation
        )
        kept_until = dict.fromkeys(range(1, 601), T0 + 60000)
        about = {601: None, 602: T0 + 60_000, 603: None, 604: None}
        assert dict(found) == kept_until | {2: None, 3: 7} | about
