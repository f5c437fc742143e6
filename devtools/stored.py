"""What is stored of a conversation, and where: the last scene of ``./dev demo``. Contents are opaque to the server, so only their
sizes are shown."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

import psycopg

from devtools.cql import QUORUM, Cql
from whatsapp.infra import hot_sync

#: Receipts and positions are written behind by at most a second.
_BEHIND_S = 3.0


def wait_written(url: str, conversation: str) -> bool:
    """Receipts and positions are written behind by at most a second: wait for them, so that the picture is whole. False: the
    conversation is not kept in PostgreSQL."""
    query = (
        "SELECT head = (SELECT min(acked) FROM delivery_position WHERE conversation = %(c)s)"
        " AND head = (SELECT max(read) FROM delivery_receipt WHERE conversation = %(c)s)"
        " FROM delivery_head WHERE conversation = %(c)s"
    )
    deadline = time.monotonic() + _BEHIND_S
    with psycopg.connect(url, connect_timeout=5, autocommit=True) as database:
        while time.monotonic() < deadline:
            row = database.execute(query, {"c": conversation}).fetchone()
            if row is None:
                return False
            if row[0]:
                break
            time.sleep(0.05)
    return True


def show_postgres(url: str, conversation: str) -> None:
    """Rows of the conversation by table. Contents are opaque to the server: only their sizes are shown."""
    queries = {
        "delivery_event": "SELECT count(*) AS rows, min(seq) AS from_seq, max(seq) AS to_seq, "
        "sum(length(content)) AS opaque_bytes FROM delivery_event WHERE conversation = %(c)s",
        "delivery_head": "SELECT head, ordinal AS messages, floor FROM delivery_head WHERE conversation = %(c)s",
        "delivery_member": "SELECT member, joined_seq, left_seq FROM delivery_member WHERE conversation = %(c)s ORDER BY member",
        "delivery_outbox": "SELECT count(*) AS batches, count(DISTINCT writer) AS gateways FROM delivery_outbox "
        "WHERE conversations @> ARRAY[%(c)s::uuid]",
        "delivery_progress": "SELECT count(*) AS marks FROM delivery_progress WHERE writer IN "
        "(SELECT writer FROM delivery_outbox WHERE conversations @> ARRAY[%(c)s::uuid])",
        "delivery_position": "SELECT device, acked FROM delivery_position WHERE conversation = %(c)s ORDER BY device",
        "delivery_seqnum": "SELECT device, last AS last_seqnum FROM delivery_seqnum WHERE conversation = %(c)s ORDER BY device",
        "delivery_receipt": "SELECT member, delivered, read FROM delivery_receipt WHERE conversation = %(c)s ORDER BY member",
    }
    with psycopg.connect(url, connect_timeout=5) as database:
        for table, query in queries.items():
            cursor = database.execute(query, {"c": conversation})
            names = [column.name for column in cursor.description or ()]
            for row in cursor.fetchall() or [()]:
                shown = (
                    ", ".join(f"{name} {_short(value)}" for name, value in zip(names, row, strict=False))
                    or "no row"
                )
                print(f"            {table:18} {shown}")


def show_copy(url: str, conversation: str) -> None:
    """The document of a busy conversation on Cassandra, as the hot node has it: ahead of the row, and made again from the log
    when it is lost."""
    with hot_sync.client(url, socket_timeout=5) as hot:
        keys = sorted(hot.scan_iter(match=f"document:{{{conversation}}}:*", count=1000))
        name = "document:{the conversation}:…"
        for key in keys:
            print(
                f"            {name:58} hash, {hot.hstrlen(key, 'd')} bytes: its state, which gives out numbers"
            )
        if not keys:
            print(f"            {name:58} none: nobody has written for a while")


def show_valkey(url: str, people: dict[str, str]) -> None:
    """Keys of both users, with sizes. All of it can be lost: it is made again from PostgreSQL."""
    with hot_sync.client(url, socket_timeout=5, decode_responses=True) as hot:
        for name, user_id in people.items():
            keys = sorted(hot.scan_iter(match=f"{{{user_id}}}*", count=1000))
            for key in keys:
                kind = hot.type(key)
                size = {
                    "zset": hot.zcard,
                    "hash": hot.hlen,
                    "set": hot.scard,
                    "stream": hot.xlen,
                    "string": hot.strlen,
                }.get(kind)
                unit = "bytes" if kind == "string" else "entries"
                shown = key.replace(f"{{{user_id}}}", f"{{{name}}}")
                print(
                    f"            {shown:58} {kind}, {size(key) if size else '?'} {unit}, expires in {hot.ttl(key)} s"
                )
            if not keys:
                print(
                    f"            {{{name}}}: none left: everything was delivered, and the sessions are closed"
                )


def _short(value: object) -> str:
    text = str(value)
    return f"…{text[-8:]}" if len(text) == 36 else text


def _login(log: Mapping[str, str]) -> Cql:
    """``log``: the variables that name the cluster, as ``./dev status`` has them."""
    host, _, port = log["CASSANDRA_CONTACT_POINTS"].split(",")[0].rpartition(":")
    return Cql(host, int(port), user=log["CASSANDRA_USER"], password=log["CASSANDRA_PASSWORD"])


def _number(value: bytes | None) -> int:
    return int.from_bytes(value, "big", signed=True) if value else 0


class _Tables:
    """Reads of one conversation by hand: no driver is opened for a picture."""

    def __init__(self, cql: Cql, keyspace: str, conversation: str) -> None:
        self._cql, self._keyspace, self.conversation = cql, keyspace, conversation

    def rows(self, what: str, table: str, where: str) -> list[tuple[bytes | None, ...]]:
        return self._cql.run(f"SELECT {what} FROM {self._keyspace}.{table} WHERE {where}", consistency=QUORUM)

    def log(self) -> list[tuple[int, int]]:
        """(seq, bytes of its content)"""
        found = self.rows("seq, content", "event", f"conversation = {self.conversation} AND bucket = 0")
        return [(_number(seq), len(content or b"")) for seq, content in found]

    def receipts(self) -> list[tuple[str, int, int]]:
        found = self.rows("member, delivered, read", "receipt", f"conversation = {self.conversation}")
        return [
            (str(uuid.UUID(bytes=member)), _number(delivered), _number(read))
            for member, delivered, read in found
            if member
        ]

    def positions(self, user: str) -> list[tuple[str, int]]:
        found = []
        for device, link in self.rows("device, link", "device", f"member = {user}"):
            id_ = uuid.UUID(bytes=device or b"")
            place = f"device = {id_} AND link = {_number(link)} AND conversation = {self.conversation}"
            found += [(str(id_), _number(acked)) for (acked,) in self.rows("acked", "position", place)]
        return found


def wait_cassandra(log: Mapping[str, str], conversation: str, people: Mapping[str, str]) -> None:
    """Until receipts and positions are written, so that the picture is whole."""
    deadline = time.monotonic() + _BEHIND_S
    with _login(log) as cql:
        tables = _Tables(cql, log["CASSANDRA_KEYSPACE"], conversation)
        while time.monotonic() < deadline:
            head = max((seq for seq, _ in tables.log()), default=0)
            places = [acked for user in people.values() for _, acked in tables.positions(user)]
            if min(places, default=0) == head == max((read for *_, read in tables.receipts()), default=0):
                return
            time.sleep(0.1)


def show_cassandra(log: Mapping[str, str], conversation: str, people: Mapping[str, str]) -> None:
    """Rows of the conversation by table."""

    def line(table: str, text: str) -> None:
        print(f"            {table:18} {text}")

    with _login(log) as cql:
        tables = _Tables(cql, log["CASSANDRA_KEYSPACE"], conversation)
        events = tables.log()
        seqs = [seq for seq, _ in events]
        line(
            "event",
            f"rows {len(events)}, from_seq {min(seqs, default=0)}, to_seq {max(seqs, default=0)}, "
            f"opaque_bytes {sum(size for _, size in events)}",
        )
        for version, document in tables.rows(
            "version, document", "conversation", f"conversation = {conversation}"
        ):
            line(
                "conversation",
                f"version {_number(version)}, {len(document or b'')} bytes: its state, changed in one step",
            )
        for user in people.values():
            for joined, peer in tables.rows(
                "joined_seq, peer", "roster", f"member = {user} AND conversation = {conversation}"
            ):
                other = _short(uuid.UUID(bytes=peer)) if peer else "none"
                line("roster", f"member {_short(user)}, joined_seq {_number(joined)}, peer {other}")
        for user in people.values():
            for device, acked in tables.positions(user):
                line("position", f"device {_short(device)}, acked {acked}")
        for member, delivered, read in tables.receipts():
            line("receipt", f"member {_short(member)}, delivered {delivered}, read {read}")
