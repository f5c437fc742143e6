"""Events that change who is in a conversation, or say what changed about it.

All of such a change is decided by the compare and set of the conversation's document: the seqs, the members, the timer. What is
then still to be written, the rows, stands in the document as its *intent* until they are durable. Readers count it as done; the
seqs of an intent are never void. Whoever meets one that its own process has not finished writes the same rows again, with the
same timestamps, so nothing depends on the process that began it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from delivery.store.cassandra import members, outbox
from delivery.store.cassandra.document import Document, Intent, Step
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.members import Membership
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.changes import NO_DEVICE
from delivery.store.interface import Change, Changed, RosterHead, TimerSet, Unavailable
from whatsapp.infra import clock

#: An intent so old (ms) is finished by whoever meets it.
ABANDONED_MS: Final = 2_000
_NO_HASH: Final = bytes(16)
_ATTEMPTS: Final = 20

_EVENT = """INSERT INTO $.event (conversation, bucket, seq, message_id, ordinal, at, allocated_at, sent_at, seq_num, sender, device,
    kind, body_hash, content, extra, withheld) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"""
_MEMBER = """INSERT INTO $.member (conversation, member, joined_seq, left_seq, speaker) VALUES (?, ?, ?, ?, ?)
    USING TIMESTAMP ?"""
_ROSTER = """INSERT INTO $.roster (member, conversation, joined_seq, left_seq, kind) VALUES (?, ?, ?, ?, 'group')
    USING TIMESTAMP ?"""
_MESSAGE = """INSERT INTO $.message (message_id, sender, conversation, seq, at, body_hash) VALUES (?, ?, ?, ?, ?, ?)
    USING TIMESTAMP ?"""
_STORED = "SELECT conversation, seq FROM $.message WHERE message_id = ? AND sender = ?"
