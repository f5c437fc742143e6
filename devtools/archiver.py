"""``python -m devtools.archiver --data DIR --port N --vault DIR [--node FOLDER …]``: keeps a vault up to date while a system
runs.

PostgreSQL's log is streamed into it as it is written, over a slot, so that the server keeps what the vault does not have; media
and secrets are looked after every :data:`FILES_EVERY_S`, and there is a base backup no older than :data:`BASE_EVERY_S`. Of nodes
of Cassandra the commit log is copied five times a second (:mod:`devtools.node_archive`).
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devtools import backup, unprivileged
from devtools.errors import DevError
from devtools.node_archive import Keeper, Nodes
from devtools.paths import DataFolder
from devtools.postgres import PostgresServer
from devtools.processes import Child, Spec

FILES_EVERY_S = 30.0
BASE_EVERY_S = 86_400.0
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


def run(data: DataFolder, port: int, vault: backup.Vault, nodes: Sequence[Path] = ()) -> int:
    """Until SIGTERM, or until the stream ends for good: then whoever supervises begins anew."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
    server = backup.server_of(data, port)
    generation = vault.generation(data)
    wal = generation / "wal"
    # A slot of another generation is from before a restore; this one begins where the server is now.
    if not any(wal.iterdir()):
        server.sql(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE slot_name = '{backup.SLOT}' AND NOT active"
        )
    if not server.sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{backup.SLOT}'"):
        server.sql(f"SELECT pg_create_physical_replication_slot('{backup.SLOT}', true)")
    kept = Nodes([Keeper(folder, backup.archive_of(generation, folder)) for folder in nodes])
    if nodes:
        backup.keep_ports(nodes[0].parent, generation)
    kept.start()
    stream = Child(receiver(server, wal, data.logs / "pg_receivewal.log"))
    stream.start()
    try:
        print(f"{READY} {wal}", flush=True)
        files_at = 0.0
        while not ending:
            if stream.pid is None:
                print(f"the stream ended: {stream.tail()}", flush=True)
                return 1
            if kept.failed:
                return 1
            if time.monotonic() - files_at >= FILES_EVERY_S:
                _look_after(vault, data, server, generation)
                files_at = time.monotonic()
            time.sleep(0.2)
        return 0
    finally:
        stream.stop()
        kept.stop()


def _look_after(vault: backup.Vault, data: DataFolder, server: PostgresServer, generation: Path) -> None:
    try:
        vault.keep_files(data)
        own = [base for base in vault.bases() if base.generation == generation]
        if not own or time.time() - own[-1].ended_at > BASE_EVERY_S:
            base = backup.take(vault, data, server)
            print(f"base backup {base.folder}", flush=True)
            backup.prune(vault)
    except (DevError, OSError) as error:
        print(f"tried again later: {error}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="devtools.archiver")
    parser.add_argument("--data", required=True)
    parser.add_argument("--port", type=int, required=True, help="where its PostgreSQL is")
    parser.add_argument("--vault", required=True)
    parser.add_argument(
        "--node", action="append", default=[], type=Path, help="folder of a node of Cassandra"
    )
    args = parser.parse_args()
    try:
        return run(DataFolder(Path(args.data)), args.port, backup.Vault(Path(args.vault)), args.node)
    except DevError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
