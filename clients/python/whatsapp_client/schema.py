"""The tables of a device's database. A change is a new entry of :data:`MIGRATIONS`; the old ones stay as they are."""

from __future__ import annotations

#: ``PRAGMA application_id``: a SQLite file without it is not ours ("WAcl").
APPLICATION_ID = 0x5741636C

#: Version n of the schema (``PRAGMA user_version``) is made by the first n.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- position: everything up to it is stored here (NULL: the server's counts); low: from here up nothing is missing
    CREATE TABLE conversations (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, position INTEGER, low INTEGER NOT NULL DEFAULT 0
    );

    -- shown 0: read over REST, its turn in the log has not come yet
    CREATE TABLE entries (
        conversation INTEGER NOT NULL, seq INTEGER NOT NULL, sender TEXT NOT NULL, message_id TEXT NOT NULL,
        type TEXT NOT NULL, kind TEXT NOT NULL, content BLOB, timestamp INTEGER NOT NULL,
        server_timestamp INTEGER NOT NULL, device TEXT NOT NULL, flags INTEGER NOT NULL, fields TEXT NOT NULL,
        shown INTEGER NOT NULL, PRIMARY KEY (conversation, seq)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX entries_once ON entries (message_id, sender, conversation) WHERE message_id <> '';

    CREATE TABLE receipts (
        conversation INTEGER NOT NULL, user TEXT NOT NULL, delivered INTEGER NOT NULL, read INTEGER NOT NULL,
        PRIMARY KEY (conversation, user)
    ) WITHOUT ROWID;

    -- told: the read position that the server knows, at told_at (ms). server_*: what the list of the server said
    CREATE TABLE chats (
        conversation INTEGER PRIMARY KEY, kind TEXT NOT NULL, peer TEXT NOT NULL, title TEXT NOT NULL,
        read_up_to INTEGER NOT NULL, told INTEGER NOT NULL, told_at INTEGER NOT NULL, server_read INTEGER NOT NULL,
        server_unread INTEGER NOT NULL, server_head INTEGER NOT NULL, last TEXT NOT NULL
    );

    CREATE TABLE people (id TEXT PRIMARY KEY, nickname TEXT NOT NULL, name TEXT NOT NULL, about TEXT NOT NULL) WITHOUT ROWID;

    -- number: the order of sending. state: queued or failed
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL UNIQUE, conversation TEXT NOT NULL,
        content BLOB NOT NULL, timestamp INTEGER NOT NULL, kind TEXT NOT NULL, fields TEXT NOT NULL,
        state TEXT NOT NULL, error TEXT NOT NULL
    );

    -- last: the last seqNum of this device that was confirmed
    CREATE TABLE numbers (conversation TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
    """,
    # What a program has dealt with: a place of its own, because `read` belongs to the user and moves on other devices too.
    """
    ALTER TABLE conversations ADD COLUMN handled INTEGER NOT NULL DEFAULT 0;
    """,
    # Groups, and the names of writes whose answer is not here yet.
    """
    -- name: what the request says (SHA-256); key: its X-Idempotency-Key
    CREATE TABLE writes (name TEXT PRIMARY KEY, key TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
    """,
    # What is known of groups.
    """
    -- settings: who sends, who edits, who adds. ended: why this user is no member any more.
    -- whole: 0 nothing is known, 1 what a list says, 2 all of it
    CREATE TABLE groups (
        conversation INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, settings TEXT NOT NULL,
        role TEXT NOT NULL, member_count INTEGER NOT NULL, creator TEXT NOT NULL, created_at INTEGER NOT NULL,
        icon TEXT NOT NULL, ended TEXT NOT NULL, whole INTEGER NOT NULL
    );

    -- of small groups only. joined: at which number they came in (0: before what is known here)
    CREATE TABLE members (
        conversation INTEGER NOT NULL, user TEXT NOT NULL, joined INTEGER NOT NULL, PRIMARY KEY (conversation, user)
    ) WITHOUT ROWID;

    -- version: the server's number of what the user has set. muted_until: ms, 0: not muted
    CREATE TABLE flags (
        conversation INTEGER PRIMARY KEY, version INTEGER NOT NULL, muted_until INTEGER NOT NULL, pinned INTEGER NOT NULL,
        archived INTEGER NOT NULL, draft BLOB
    );
    """,
    # How many unread messages name this user, as the list of the server said.
    """
    ALTER TABLE chats ADD COLUMN server_mentioned INTEGER NOT NULL DEFAULT 0;
    """,
    # What is said about a message is found by it; messages that vanish, have a star, or are gone from this device only.
    """
    -- target: the message that an edit, a delete, a reaction or a vote is about. expires_at: ms, 0: never.
    -- type 'gone': nothing but its place is left. flags: 1 edited, 2 deleted, 4 starred, 8 shown once, 16 its content was given
    ALTER TABLE entries ADD COLUMN target TEXT NOT NULL DEFAULT '';
    ALTER TABLE entries ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
    UPDATE entries SET target = coalesce(json_extract(fields, '$.targetId'), '')
        WHERE type IN ('edit', 'delete', 'reaction') AND fields <> '';
    UPDATE entries SET expires_at = server_timestamp + 1000 * coalesce(json_extract(fields, '$.expiresIn'), 0)
        WHERE type = 'message' AND instr(fields, '"expiresIn"') > 0 AND json_extract(fields, '$.expiresIn') > 0;
    UPDATE entries SET flags = flags | 8
        WHERE type = 'message' AND instr(fields, '"viewOnce"') > 0 AND json_extract(fields, '$.viewOnce');
    CREATE INDEX entries_target ON entries (conversation, target, seq) WHERE target <> '';
    CREATE INDEX entries_expiring ON entries (expires_at) WHERE expires_at > 0;
    CREATE INDEX entries_time ON entries (server_timestamp);
    CREATE INDEX entries_starred ON entries (server_timestamp) WHERE flags & 4;

    -- deleted for this device: they never come back, whoever brings them
    CREATE TABLE hidden (conversation INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (conversation, seq)) WITHOUT ROWID;

    -- timer: seconds, 0: none; timer_seq: the event that said so (0: a list of the server)
    ALTER TABLE chats ADD COLUMN timer INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE chats ADD COLUMN timer_seq INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE chats ADD COLUMN request INTEGER NOT NULL DEFAULT 0;

    -- blocked: by this user. asked_at: when the profile was read (ms), 0: it must be read again
    ALTER TABLE people ADD COLUMN asked_at INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE blocks (user TEXT PRIMARY KEY) WITHOUT ROWID;

    -- broadcast lists are this device's own
    CREATE TABLE lists (id TEXT PRIMARY KEY, name TEXT NOT NULL, users TEXT NOT NULL) WITHOUT ROWID;
    """,
    # Where somebody's picture is.
    """
    ALTER TABLE people ADD COLUMN photo TEXT NOT NULL DEFAULT '';
    """,
    # Files on their way.
    """
    -- name: what is to be sent where (SHA-256). request: its X-Idempotency-Key. address: "" until the server gave one.
    -- key: of an encrypted file, which is the file `spool` beside the database. offset: bytes that the server has.
    CREATE TABLE uploads (
        name TEXT PRIMARY KEY, conversation TEXT NOT NULL, kind TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
        sha256 TEXT NOT NULL, key BLOB NOT NULL, plain_size INTEGER NOT NULL, spool TEXT NOT NULL, request TEXT NOT NULL,
        address TEXT NOT NULL, offset INTEGER NOT NULL, at INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
)
