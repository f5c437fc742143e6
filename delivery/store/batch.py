"""A list of sends as the parameters of ``delivery_append``. Everything here runs once a message: it is the hot path.

Columns are made by ``zip`` and arrays written as text by ``join``, which costs a quarter of the driver's list dumper; all
bytes travel as one value. Arrays that say the usual thing (each send to a conversation of its own, all of them texts) are null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

from msgspec.structs import astuple

from delivery.store.operation import Query, numbers, uuids
from delivery.store.values import Amendment, Send

_APPEND = """SELECT o_row, o_head, o_seq, o_outcome, o_at, o_expected, o_withheld, o_until FROM delivery_append(
    %s::uuid, %s::bigint, %s::int, %s::boolean, %s::uuid[], %s::int[], %s::uuid[], %s::uuid[], %s::uuid[], %s::bigint[],
    %s::bigint[], %s::text[], %s::int[], %s::int[], %s::int[], %s::int[], %s::boolean[], %s::int[], %s::int[],
    %b::bytea, %s::int[], %s::int[], %s::int[], %s::int[])"""

_AMEND = """SELECT o_row, o_head, o_seq, o_outcome, o_at, o_expected, o_withheld, o_until FROM delivery_amend(
    %s::uuid, %s::bigint, %s::int, %s::boolean, %s::uuid[], %s::int[], %s::uuid[], %s::uuid[], %s::uuid[], %s::bigint[],
    %s::bigint[], %s::text[], %s::uuid[], %s::bigint[], %s::int[], %s::bigint[],
    %b::bytea, %s::int[], %s::int[], %s::int[], %s::int[])"""

#: Behind either when somebody is mentioned.
_MENTION = """ CROSS JOIN LATERAL delivery_mention(
    o_head, o_seq, o_outcome, %s::bigint, %s::int[], %s::uuid[], %s::int[], %s::int[], %s::uuid[])"""
#: Behind all of it when something is not to be kept.
_KEEP_UNTIL = """ CROSS JOIN LATERAL delivery_keep_until(
    o_head, o_seq, o_outcome, %s::bigint, %s::int[], %s::uuid[], %s::int[], %s::int[], %s::bigint[])"""
#: Behind all of it when somebody answers who has not accepted the other user yet.
_ANSWER = """ CROSS JOIN LATERAL delivery_answer(o_outcome, %s::int[], %s::uuid[], %s::uuid[], %s::bigint)"""
_APPEND_MENTIONING, _AMEND_MENTIONING = _APPEND + _MENTION, _AMEND + _MENTION

#: Kinds that are not messages: they take a seq, and no ordinal. The append's SQL has the same list.
EVENT_KINDS = frozenset(
    {"edit", "delete", "reaction", "member_added", "member_removed", "role", "info", "timer", "vote"}
)

_HASH_BYTES = 16


class Run:
    """Sends that one statement can judge: no (sender, message_id) twice, and the counted sends of one device in one
    conversation ascend."""

    __slots__ = ("_answers", "_ending", "_mentions", "_params", "_places", "_ranks", "sends")

    sql, mentioning = _APPEND, _APPEND_MENTIONING

    def __init__(self, sends: Sequence[Send], alone: bool = False) -> None:
        """``alone``: no two counted sends are of one device in one conversation."""
        self.sends = sends
        (
            conversation,
            sender,
            device,
            message_id,
            kind,
            content,
            body_hash,
            sent_at,
            seq_num,
            extra,
            envelopes,
            mentions,
            lasts,
            answers,
        ) = zip(*map(astuple, sends), strict=True)
        distinct = sorted(set(conversation))
        place = {one: i for i, one in enumerate(distinct, 1)}
        self._places = [place[one] for one in conversation]
        kinds = list(set(kind))
        counts, messages, self._ranks, ordinals = _ranks(self._places, len(distinct), kind, kinds)
        turns, final = (None, None) if alone else _turns(device, conversation, seq_num)
        body, offsets, *lengths = _body(body_hash, content, extra, envelopes)
        self._params = (
            uuids(distinct),
            numbers(self._places),
            uuids(sender),
            uuids(device),
            uuids(message_id),
            numbers(sent_at),
            numbers(seq_num) if any(seq_num) else None,
            "{" + ",".join(map(_quoted, kinds)) + "}",
            numbers(kinds.index(one) + 1 for one in kind) if len(kinds) > 1 else None,
            self._ranks and numbers(self._ranks),
            ordinals and numbers(ordinals),
            turns and numbers(turns),
            final and "{" + ",".join(map(str, final)) + "}",
            counts and numbers(counts),
            messages and numbers(messages),
            body,
            offsets,
            *lengths,
        )
        self._mentions = self._mentioned() if any(mentions) else None
        self._ending = self._kept() if any(lasts) else None
        self._answers = self._answering() if any(answers) else None

    def _mentioned(self) -> tuple[str, ...]:
        """The parameters of ``delivery_mention`` but the first ones."""
        places, ranks = self._places, self._ranks or [1] * len(self.sends)
        found = [
            (i, send.conversation, places[i - 1], ranks[i - 1], user)
            for i, send in enumerate(self.sends, 1)
            for user in dict.fromkeys(send.mentions)
            if user != send.sender
        ]
        at, conversations, place, rank, users = zip(*found, strict=True) if found else ((),) * 5
        return numbers(at), uuids(conversations), numbers(place), numbers(rank), uuids(users)

    def _kept(self) -> tuple[str, ...]:
        """The parameters of ``delivery_keep_until`` but the first ones."""
        ranks = self._ranks or [1] * len(self.sends)
        found = [
            (i, send.conversation, self._places[i - 1], ranks[i - 1], send.lasts)
            for i, send in enumerate(self.sends, 1)
            if send.lasts
        ]
        at, conversations, place, rank, lasts = zip(*found, strict=True)
        return numbers(at), uuids(conversations), numbers(place), numbers(rank), numbers(lasts)

    def _answering(self) -> list[tuple[int, Send]]:
        return [(i, send) for i, send in enumerate(self.sends, 1) if send.answers]

    def query(self, writer: str, now: int, lock_ms: int, skip: bool) -> Query:
        """The statement that appends them."""
        params: tuple[Any, ...] = (writer, now, lock_ms, skip, *self._params)
        sql = self.sql
        if self._mentions is not None:
            sql, params = self.mentioning, (*params, now, *self._mentions)
        if self._ending is not None:
            sql, params = sql + _KEEP_UNTIL, (*params, now, *self._ending)
        if self._answers:
            at, sends = zip(*self._answers, strict=True)
            sql += _ANSWER
            params = (
                *params,
                numbers(at),
                uuids(send.conversation for send in sends),
                uuids(send.sender for send in sends),
                now,
            )
        return Query(sql, params, guarded=True)

    @property
    def ends(self) -> bool:
        """Whether one of them says how long it is kept."""
        return self._ending is not None

    def seqs(self, heads: Sequence[int]) -> list[int]:
        """Seq of each send when all were stored; ``heads``: the conversations' heads before."""
        if self._ranks is None:
            return [heads[place - 1] + 1 for place in self._places]
        return [heads[place - 1] + rank for place, rank in zip(self._places, self._ranks, strict=True)]


class Amending(Run):
    """Sends of any kind, judged one after the other: from the first amendment of a list on."""

    __slots__ = ()

    sql, mentioning = _AMEND, _AMEND_MENTIONING

    def __init__(self, sends: Sequence[Send]) -> None:
        self.sends = sends
        distinct = sorted({send.conversation for send in sends})
        place = {one: i for i, one in enumerate(distinct, 1)}
        self._places, self._ranks = [place[send.conversation] for send in sends], None
        amends = [send if isinstance(send, Amendment) else None for send in sends]
        body, offsets, *lengths = _body(
            [send.body_hash for send in sends],
            [send.content for send in sends],
            [send.extra for send in sends],
            [send.envelopes for send in sends],
        )
        self._params = (
            uuids(distinct),
            numbers(self._places),
            uuids(send.sender for send in sends),
            uuids(send.device for send in sends),
            uuids(send.message_id for send in sends),
            numbers(send.sent_at for send in sends),
            numbers(send.seq_num for send in sends),
            "{" + ",".join(_quoted(send.kind) for send in sends) + "}",
            uuids(one.target if one is not None else "NULL" for one in amends),
            numbers(one.oldest if one is not None else 0 for one in amends),
            numbers(one.distinct if one is not None else 0 for one in amends),
            numbers(send.lasts for send in sends),
            body,
            offsets,
            *lengths,
        )
        self._mentions = self._mentioned() if any(send.mentions for send in sends) else None
        self._ending = None  # the statement takes it with each send
        self._answers = self._answering() if any(send.answers for send in sends) else None


def runs(sends: Sequence[Send]) -> Iterator[Run]:
    """Cut a list, which must not be empty, into runs. A well-behaved list is one, or two with the amendments behind."""
    first = next((i for i, send in enumerate(sends) if type(send) is Amendment), None)
    if first is None:
        yield from _plain_runs(sends)
        return
    if first:
        yield from _plain_runs(sends[:first])
    yield Amending(sends[first:])


def _plain_runs(sends: Sequence[Send]) -> Iterator[Run]:
    if len({(send.message_id, send.sender) for send in sends}) == len(sends):
        counted = [(send.device, send.conversation) for send in sends if send.seq_num]
        if len(set(counted)) == len(counted):
            yield Run(sends, alone=True)
            return
    start = 0
    seen: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], int] = {}
    for i, send in enumerate(sends):
        key = (send.message_id, send.sender)
        if key in seen or (send.seq_num and send.seq_num <= last.get((send.device, send.conversation), 0)):
            yield Run(sends[start:i])
            start = i
            seen.clear()
            last.clear()
        seen.add(key)
        if send.seq_num:
            last[send.device, send.conversation] = send.seq_num
    yield Run(sends[start:])


_Ints = list[int] | None


def _ranks(
    places: list[int], size: int, kind: Sequence[str], kinds: list[str]
) -> tuple[_Ints, _Ints, _Ints, _Ints]:
    """Per conversation sends and messages, per send rank and ordinal within its conversation; None for the usual."""
    plain = EVENT_KINDS.isdisjoint(kinds)
    if plain and size == len(places):
        return None, None, None, None
    counts, messages = [0] * size, [0] * size
    ranks, ordinals = [], []
    for place, one in zip(places, kind, strict=True):
        counts[place - 1] += 1
        ranks.append(counts[place - 1])
        if one not in EVENT_KINDS:
            messages[place - 1] += 1
        ordinals.append(messages[place - 1])
    if plain:
        return counts, None, ranks, None
    return counts, messages, ranks, ordinals


def _turns(
    device: Sequence[str], conversation: Sequence[str], seq_num: Sequence[int]
) -> tuple[list[int], list[bool]]:
    """Place of each counted send among those of its device and conversation, and whether it is the last of them."""
    turns: list[int] = []
    last: dict[tuple[str, str], tuple[int, int]] = {}  # turn and index of the latest
    for i, (a, b, number) in enumerate(zip(device, conversation, seq_num, strict=True)):
        turn = 0
        if number:
            turn = last.get((a, b), (0, 0))[0] + 1
            last[a, b] = (turn, i)
        turns.append(turn)
    final = [False] * len(turns)
    for _, i in last.values():
        final[i] = True
    return turns, final


def _body(
    body_hash: Sequence[bytes],
    content: Sequence[bytes],
    extra: Sequence[bytes | None],
    envelopes: Sequence[bytes | None],
) -> tuple[bytes, str, str, str | None, str | None]:
    """All bytes, the offset of each send in them, and the lengths of its three parts behind the hash."""
    lengths = list(map(len, content))
    if any(extra) or any(envelopes) or b"" in extra or b"" in envelopes:
        rows = [
            (h, c, x or b"", e or b"")
            for h, c, x, e in zip(body_hash, content, extra, envelopes, strict=True)
        ]
        parts: Iterable[bytes] = chain.from_iterable(rows)
        sizes: Iterable[int] = (sum(map(len, row)) for row in rows)
        optional: tuple[str | None, str | None] = (_lengths(extra), _lengths(envelopes))
    else:
        parts = chain.from_iterable(zip(body_hash, content, strict=True))
        sizes = (_HASH_BYTES + length for length in lengths)
        optional = (None, None)
    offsets = list(accumulate(sizes, initial=0))
    offsets.pop()
    return b"".join(parts), numbers(offsets), numbers(lengths), *optional


def _lengths(values: Sequence[bytes | None]) -> str:
    return "{" + ",".join("NULL" if value is None else str(len(value)) for value in values) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
