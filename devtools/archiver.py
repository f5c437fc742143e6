"""``python -m devtools.archiver --data DIR --port N --vault DIR [--keys KEYS] [--node FOLDER …]``: keeps a vault up to date while
a system runs.

PostgreSQL's log is streamed into it as it is written, over a slot, so that the server keeps what the vault does not have; media
and secrets are looked after every :data:`FILES_EVERY_S`, and there is a base backup no older than :data:`BASE_EVERY_S`. Of nodes
of Cassandra the commit log is copied five times a second (:mod:`devtools.node_archive`). With ``--keys`` what goes into the vault
is sealed, and each hour the keys of media that are gone are destroyed, and it is written down who was erased (``--erased``).
What the vault has is written down in the database, where operators and alerts see it (``whatsapp/staff/backups.py``).
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devtools import backup, unprivileged
from devtools.errors import DevError
from devtools.node_archive import Keeper, Nodes
from devtools.paths import REPO, DataFolder
from devtools.postgres import PostgresServer
from devtools.processes import Child, Spec
from devtools.segments import Segments
from devtools.telling import Teller

FILES_EVERY_S = 30.0
BASE_EVERY_S = 86_400.0
SWEEP_EVERY_S = 3_600.0
READY = "streaming into"


def receiver(server: PostgresServer, wal: Path, log: Path) -> Spec:
    """``pg_receivewal``: comes back by itself when the server does."""
    return Spec(
        name="pg_receivewal",
        argv=[
            str(unprivileged.programs() / "pg_receivewal"), "--host=127.0.0.1", f"--port={server.port}",
            f"--username={backup.USER}", "--no-password", f"--directory={wal}", f"--slot={backup.SLOT}",
            "--status-interval=5", "--synchronous",  # on disk as it comes, not with the end of its segment
        ],
        env={**server.env, "PGPASSWORD": server.password},
        cwd=Path("/"),
        log=log,
        stop_signal=signal.SIGINT,
    )  # fmt: skip


def run(
    data: DataFolder, port: int, vault: backup.Vault, nodes: Sequence[Path] = (), *, erased: bool = False
) -> int:
    """Until SIGTERM, or until the stream ends for good: then whoever supervises begins anew."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    server = backup.server_of(data, port)
    if server.sql(f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{backup.SLOT}'") == "lost":
        # The server has deleted what it did not get and never streams over this slot again.
        print("the server kept too little of its log: another generation begins", flush=True)
        backup.begin_anew(data)
    generation = vault.generation(data)
    wal = vault.receiving(generation)
    # A slot of another generation is from before a restore; this one begins where the server is now.
    if not any(wal.iterdir()) and not any((generation / "wal").iterdir()):
        server.sql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE slot_name = '{backup.SLOT}' AND NOT active"
        )
    if not server.sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{backup.SLOT}'"):
        server.sql(f"SELECT pg_create_physical_replication_slot('{backup.SLOT}', true)")
    kept = Nodes([Keeper(folder, backup.archive_of(vault, generation, folder)) for folder in nodes])
    if nodes:
        backup.keep_ports(nodes[0].parent, generation)
    kept.start()
    segments = Segments(vault.ring, generation.name, generation / "wal") if vault.ring else None
    if segments:
        segments.start()
    _empty_halves(wal, int(server.sql("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'")))
    stream = Child(receiver(server, wal, data.logs / "pg_receivewal.log"))
    stream.start()
    try:
        print(f"{READY} {wal}", flush=True)
        files_at = swept_at = 0.0
        teller = Teller(vault, server)
        while not ending:
            if stream.pid is None:
                print(f"the stream ended: {stream.tail()}", flush=True)
                return 1
            if kept.failed or (segments and segments.failed):
                return 1
            if time.monotonic() - files_at >= FILES_EVERY_S:
                teller.looked(whole=_look_after(vault, data, server, generation))
                files_at = time.monotonic()
            elif teller.is_due and not (segments and segments.trouble):
                teller.tell()
                if teller.is_lost:
                    print("the server kept too little of its log", flush=True)
                    return 1
            if vault.ring and (not swept_at or time.monotonic() - swept_at >= SWEEP_EVERY_S):
                _sweep(vault, data, erased=erased)
                swept_at = time.monotonic()
            time.sleep(0.2)
        return 0
    finally:
        stream.stop()
        if segments:
            segments.stop()
        kept.stop()


def _empty_halves(wal: Path, size: int) -> None:
    """``pg_receivewal`` fills a segment with zeros before it writes to it, and goes on with one that is empty or has its ``size``
    alone: behind one that was killed in between it would ask for that again and again, and nothing would be kept any more."""
    for partial in wal.glob("*.partial"):
        if partial.stat().st_size not in (0, size):
            os.truncate(partial, 0)


def _look_after(vault: backup.Vault, data: DataFolder, server: PostgresServer, generation: Path) -> bool:
    """Whether the vault has all that is not streamed."""
    try:
        vault.check_there(data)
        vault.keep_files(data)
        own = [base for base in vault.bases() if base.generation == generation]
        if not own or time.time() - own[-1].ended_at > BASE_EVERY_S or _cut(vault, own[-1]):
            base = backup.take(vault, data, server)
            print(f"base backup {base.folder}", flush=True)
            backup.prune(vault)
        return True
    except (DevError, OSError) as error:
        print(f"tried again later: {error}", flush=True)
        return False


def _cut(vault: backup.Vault, base: backup.Base) -> bool:
    """Whether the log does not go on from there: it was made while nothing was streamed, or the server kept too little."""
    return bool(vault.log(base.generation).gap(str(base.about.get("firstWal", ""))))


def _sweep(vault: backup.Vault, data: DataFolder, *, erased: bool) -> None:
    """What is to end by its age, ends."""
    try:
        found = vault.sweep(data)
        backup.prune(vault)
        if found.destroyed:
            print(f"keys of {found.destroyed} files that are gone were destroyed", flush=True)
        if erased and vault.ring:
            _write_erased(vault.ring.erased)
    except (DevError, OSError) as error:
        print(f"swept again later: {error}", flush=True)


def _write_erased(file: Path) -> None:
    """Who was erased, beside the keys: an older database does not know it. Nobody is ever left out of it, for a restored database
    knows fewer than the file. Raises :class:`DevError`."""
    draft = file.with_name(f".{file.name}.new")
    done = subprocess.run(
        [sys.executable, "manage.py", "erase_again", "--write", str(draft)],
        cwd=REPO,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DevError(f"who was erased could not be written down: {done.stderr.strip()[-500:]}")
    known = set(file.read_text().split()) if file.exists() else set()
    draft.write_text("".join(f"{line}\n" for line in sorted(known | set(draft.read_text().split()))))
    draft.replace(file)


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtools.archiver")
    parser.add_argument("--data", required=True)
    parser.add_argument("--port", type=int, required=True, help="where its PostgreSQL is")
    parser.add_argument("--vault", type=Path, required=True)
    parser.add_argument("--keys", type=Path, help="what is added to it is sealed by them")
    parser.add_argument("--erased", action="store_true", help="write down beside the keys who was erased")
    parser.add_argument(
        "--node", action="append", default=[], type=Path, help="folder of a node of Cassandra"
    )
    args = parser.parse_args()
    try:
        data = DataFolder(Path(args.data))
        backup.check_mounted(args.vault, data)
        vault = backup.Vault.of(args.vault, args.keys, make=args.keys is not None)
        return run(data, args.port, vault, args.node, erased=args.erased)
    except DevError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
