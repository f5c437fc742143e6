"""``./dev drill restore``: a system under load loses its data, is made again from backups, and what that cost is printed.

RPO: the age of the oldest message that had its ✓ and is not there any more, at the moment of the loss; 0 if none is missing. RTO:
from the loss until all gateways answer that they are ready.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from devtools import backup, ports, restoring, unprivileged
from devtools.cql import QUORUM
from devtools.errors import DevError
from devtools.paths import REPO, DataFolder
from devtools.ring import KEYSPACE
from devtools.stack import Stack

sys.path.insert(0, str(REPO / "clients" / "python"))

from whatsapp_client import Client, Rest, SmsFile, events, sign_up

PEOPLE = 4
#: For whatever is waited for; a slow machine is slow.
PATIENCE_S = 120.0

_started = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - _started:7.2f} s  {text}", flush=True)


class Load:
    """People who write to each other, and the ✓ that they got: message id → when (``time.time()``)."""

    def __init__(self, url: str, data: Path, per_second: float) -> None:
        self._url, self._data, self._pause = url, data, PEOPLE / per_second
        self.clients: list[Client] = []
        self.conversations: list[str] = []
        self.acknowledged: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._writing = True

    async def begin(self) -> None:
        numbers = random.sample(range(1_000_000, 9_999_999), PEOPLE)
        for number in numbers:
            phone = f"+1555{number}"
            sms = SmsFile(self._data / "sms.jsonl", phone)
            session = await sign_up(Rest(self._url), phone, sms.code, device_name="drill")
            self.clients.append(Client(self._url, session))
        for place, client in enumerate(self.clients):
            other = self.clients[place ^ 1].session.user_id
            self.conversations.append(await client.rest.direct(other))
            self._tasks.append(asyncio.create_task(self._follow(client)))
            await client.start()
            await client.wait_online(PATIENCE_S)
        for place in range(PEOPLE):
            self._tasks.append(asyncio.create_task(self._write(place)))

    async def _follow(self, client: Client) -> None:
        async for event in client.events():
            if isinstance(event, events.Sent):
                self.acknowledged.setdefault(event.outgoing.message_id, time.time())

    async def _write(self, place: int) -> None:
        number = 0
        while self._writing:
            number += 1
            self.clients[place].send(self.conversations[place], f"{place} {number}")
            await asyncio.sleep(self._pause)

    async def sent(self, number: int) -> None:
        """Until so many have their ✓."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < number:
            if time.monotonic() > deadline:
                raise DevError(f"{len(self.acknowledged)} of {number} messages were acknowledged")
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        self._writing = False
        for client in self.clients:
            await client.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _stack(folder: Path, vault: backup.Vault, port: int, overrides: dict[str, str], nodes: int) -> Stack:
    return Stack(
        DataFolder(folder),
        port=port,
        gateways=2,
        beat=False,
        vault=vault.root,
        keys=vault.ring.root if vault.ring else None,
        cassandra=nodes,
        overrides=overrides,
        python=Path(sys.executable),
        say=say,
    )


def _fsck(stack: Stack, *arguments: str) -> dict[str, Any]:
    """What ``manage.py fsck`` says in the end, with the kinds it found."""
    run = subprocess.run(
        [sys.executable, "manage.py", "fsck", "--json", *arguments],
        cwd=REPO,
        env=stack.env,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    if not lines:
        raise DevError(f"fsck failed: {run.stderr.strip()[-500:]}")
    return {**lines[-1], "kinds": sorted({line["kind"] for line in lines[:-1]})}


def _destroy(stack: Stack) -> None:
    """As if the disk of the servers were gone: everything is killed, and database, hot state and media are deleted."""
    assert stack.postgres is not None
    stack.kill()
    shutil.rmtree(stack.postgres.folder)
    shutil.rmtree(stack.data.valkey, ignore_errors=True)
    shutil.rmtree(stack.data.root / "media", ignore_errors=True)
    for node in stack.ring.nodes if stack.ring else []:
        shutil.rmtree(node.folder)
    stack.data.secrets.unlink()


def _stored(stack: Stack) -> set[str]:
    assert stack.postgres is not None
    if stack.ring:
        with stack.ring.login(timeout=120.0) as node:
            rows = node.run(f"SELECT message_id FROM {KEYSPACE}.event", consistency=QUORUM)
        return {str(uuid.UUID(bytes=row[0])) for row in rows if row[0]}
    return set(stack.postgres.sql("SELECT message_id FROM delivery_event", database="whatsapp").split())


async def rehearse(
    folder: Path,
    *,
    seconds: float,
    per_second: float,
    port: int,
    overrides: dict[str, str] | None = None,
    nodes: int = 0,
    sealed: bool = False,
) -> dict[str, Any]:
    """The drill, in an empty folder; ``nodes``: of Cassandra, on which the messages are then; ``sealed``: with keys. Returns its
    figures.

    Raises :class:`DevError`.
    """
    data = folder / "data"
    vault = backup.Vault.of(folder / "vault", folder / "keys" if sealed else None, make=sealed)
    data.mkdir(parents=True, exist_ok=True, mode=0o711)
    own = {"WHATSAPP_BUILD": "drill", **(overrides or {})}
    stack = _stack(data, vault, port, own, nodes)
    load: Load | None = None
    try:
        media = data / "media" / "photos" / "drill"
        media.mkdir(parents=True)
        (media / "file").write_bytes(os.urandom(1000))
        await asyncio.to_thread(stack.start)
        await _until(lambda: bool(vault.bases()), "the first base backup")
        await _until(lambda: len(_kept(vault.root)) == nodes, "the first tables of each node")
        load = Load(stack.http, data, per_second)
        await load.begin()
        await load.sent(1)
        say("people write to each other")
        await asyncio.sleep(seconds / 2)
        before = await asyncio.to_thread(_fsck, stack)
        await asyncio.sleep(seconds / 2)
        lost_at = time.time()
        clock = time.monotonic()
        await asyncio.to_thread(_destroy, stack)
        acknowledged = dict(load.acknowledged)
        say(f"{len(acknowledged)} messages had their ✓ when all data were lost")
        done = await asyncio.to_thread(restoring.restore, vault, DataFolder(data), say=say)
        stack = _stack(data, vault, port, own, nodes)
        await asyncio.to_thread(stack.start, migrate=False)
        rto = time.monotonic() - clock
        say("ready again")
        stored = await asyncio.to_thread(_stored, stack)
        missing = {id_: at for id_, at in acknowledged.items() if id_ not in stored}
        after = await asyncio.to_thread(_fsck, stack, "--repair")
        left = await asyncio.to_thread(_fsck, stack)
        resumed = len(load.acknowledged)
        await load.sent(resumed + PEOPLE)
        say("and they write on")
        return {
            "acknowledged": len(acknowledged),
            "missing": len(missing),
            "rpoSeconds": round(max((lost_at - at for at in missing.values()), default=0.0), 3),
            "rtoSeconds": round(rto, 2),
            "databaseBytes": _size(done.base.folder),
            "nodesBytes": _size(done.base.generation / "nodes"),
            "mediaRestored": (media / "file").is_file(),
            "fsckBefore": before,
            "fsckRepaired": after,
            "fsckLeft": left,
        }
    finally:
        if load is not None:
            await load.end()
        await asyncio.to_thread(stack.kill)


def _kept(vault: Path) -> set[Path]:
    """The nodes of which the vault has tables."""
    return {about.parent.parent.parent for about in vault.glob("*/nodes/*/base/*/about.json")}


async def _until(check: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        if time.monotonic() > deadline:
            raise DevError(f"after {PATIENCE_S:.0f} s still missing: {what}")
        await asyncio.sleep(0.05)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev drill restore")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long people write before the loss")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second, of all together")
    parser.add_argument("--cassandra", action="store_true", help="messages on a node of Cassandra")
    parser.add_argument("--cluster", action="store_true", help="on three of them")
    parser.add_argument("--sealed", action="store_true", help="with keys of the backups")
    parser.add_argument("--port", type=int, help="of the system that is made for it")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="whatsapp-drill-"))
    folder.chmod(0o711)
    try:
        work = rehearse(
            folder,
            seconds=args.seconds,
            per_second=args.rate,
            port=args.port or ports.choose(),
            nodes=3 if args.cluster else 1 if args.cassandra else 0,
            sealed=args.sealed,
        )
        figures = asyncio.run(work)
    except DevError as error:
        print(f"./dev drill restore: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(unprivileged.data_folder(folder / "data" / "postgres"), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    found, left = figures["fsckRepaired"], figures["fsckLeft"]["found"]
    print(
        f"\nRPO {figures['rpoSeconds']:.3f} s ({figures['missing']} of {figures['acknowledged']} acknowledged messages missing)"
        f"\nRTO {figures['rtoSeconds']:.2f} s ({_mib(figures['databaseBytes'])} MiB of base backup, "
        f"{_mib(figures['nodesBytes'])} MiB of nodes)"
        f"\nfsck after the restore: found {found['found']} {found['kinds']}, left {left}"
    )
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1))
    return 0 if not left and figures["mediaRestored"] else 1


if __name__ == "__main__":
    sys.exit(main())
