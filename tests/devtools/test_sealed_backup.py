"""Sealed backups: nothing of them can be read, all of them comes back, and who destroys a key ends what it sealed."""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devtools import archiver, backup, cli, restoring, running, sealed, sealed_base
from devtools.backup import Vault
from devtools.errors import DevError
from devtools.keyring import Keyring
from devtools.paths import DataFolder
from tests.devtools.backed_up import Server, asked, found_in, reachable, until

PHONE, MESSAGE, FILE = b"+15557654321", b"nobody else shall read this message", b"a photo of somebody"
OTHER = b"written when the second period had begun"


class Kept(NamedTuple):
    """What one system has left: two base backups, a period each; nothing of it runs."""

    folder: Path
    between: float  # before the third row
    secrets: str
    needles: tuple[bytes, ...]

    def vault(self) -> Vault:
        return Vault.of(self.folder / "vault", self.folder / "keys")

    def copy(self, to: Path) -> Vault:
        """To be changed."""
        for part in ("vault", "keys"):
            shutil.copytree(self.folder / part, to / part)
        return Vault.of(to / "vault", to / "keys")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = reachable(tmp_path_factory.mktemp("sealed"))
    one = Server(folder / "data", folder / "vault", folder / "keys")
    try:
        photo = one.data.root / "media" / "photos" / "somebody"
        photo.parent.mkdir(parents=True)
        photo.write_bytes(FILE * 100)
        secrets = one.data.secrets.read_text()
        one.sql("CREATE TABLE note (number integer, content text)")
        one.sql(f"INSERT INTO note VALUES (1, '{PHONE.decode()}'), (2, '{MESSAGE.decode()}')")
        one.sql("SELECT pg_switch_wal()")
        one.restart_archive()  # it goes on with the segment that it has
        between = float(one.sql("SELECT extract(epoch FROM clock_timestamp())"))
        one.sql("INSERT INTO note VALUES (3, '')")
        one.sql("SELECT pg_switch_wal()")
        until(one.streamed, "the stream has everything")
        base = backup.take(one.vault, one.data, one.server)
        one.sql(f"INSERT INTO note VALUES (4, '{OTHER.decode()}')")
        one.sql("SELECT pg_switch_wal()")
        one.sql("INSERT INTO note VALUES (5, '')")
        until(one.streamed, "the stream has everything")
        until(lambda: len(list(base.generation.glob("wal/*.sealed"))) >= 3, "what is whole is sealed")
        assert not any(backup.scratch(one.data).iterdir()), "no plain base backup is left beside the data"
        # The same, without keys: what the search for bytes has to find.
        backup.take(Vault(folder / "plain"), one.data, one.server)
        words = tuple(value.encode() for value in json.loads(secrets).values())
        found = Kept(folder, between, secrets, (PHONE, MESSAGE, OTHER, FILE, b"somebody", *words))
    finally:
        one.lose()
    return found


def _numbers(data: DataFolder) -> str:
    return asked(data, "SELECT string_agg(number::text, ',' ORDER BY number) FROM note")


def _data(folder: Path) -> DataFolder:
    data = DataFolder(folder / "restored")
    shutil.rmtree(data.root, ignore_errors=True)
    data.root.mkdir(mode=0o711)
    return data


def test_no_byte_of_anybody_is_in_the_vault(kept: Kept) -> None:
    needles = kept.needles + tuple(base64.b64encode(needle) for needle in kept.needles)
    assert found_in(kept.folder / "vault", *needles) == []
    assert list((kept.folder / "vault").glob("*/wal/[!.]*")), "there is a log"
    # Nor is a key of it there.
    secrets = [period.key.secret for period in kept.vault().ring.periods()]  # type: ignore[union-attr]
    assert len(secrets) == 2
    assert found_in(kept.folder / "vault", *secrets, *(one.hex().encode() for one in secrets)) == []


def test_twin_without_keys_everything_is_there_to_be_read(kept: Kept) -> None:
    found = {needle for _, needle in found_in(kept.folder / "plain", *kept.needles)}
    assert found == set(kept.needles)


def test_a_point_in_time_by_the_first_base_backup_and_its_sealed_log(kept: Kept) -> None:
    data = _data(kept.folder)
    vault = kept.vault()
    done = restoring.restore(vault, data, until=kept.between)
    assert done.base == vault.bases()[0]
    assert data.secrets.read_text() == kept.secrets
    assert (data.root / "media" / "photos" / "somebody").read_bytes() == FILE * 100
    assert _numbers(data) == "1,2"


def test_what_a_destroyed_key_sealed_is_gone_and_the_rest_is_restored_up_to_the_loss(
    kept: Kept, tmp_path: Path
) -> None:
    vault = kept.copy(tmp_path)
    first, second = vault.bases()
    elsewhere = Vault.of(shutil.copytree(vault.root, tmp_path / "elsewhere"), tmp_path / "keys")
    old = [
        path
        for path in sorted(first.generation.glob("wal/*.sealed"))
        if sealed.key_id_of(path) == first.key_id
    ]
    assert old, "the log of the first period"
    assert backup.shred_before(vault, second.about["beganAt"]) == 1
    assert vault.bases() == [second]
    assert not any(path.exists() for path in old)
    # A copy that somebody made before is of no use either.
    copied = elsewhere.bases()[0]
    assert [one["key"] for one in backup.shown(elsewhere)] == ["destroyed", "there"]
    with pytest.raises(DevError, match=r"data\.sealed cannot be opened: its key was destroyed"):
        restoring.check(elsewhere, copied, None)
    with pytest.raises(DevError, match="was destroyed"):
        sealed_base.unpack(
            copied.folder / sealed_base.NAME, tmp_path / "x", elsewhere.ring, sealed_base.bound(copied.folder, copied.about)  # type: ignore[arg-type]
        )  # fmt: skip
    for path in old:
        with pytest.raises(DevError, match=f"{path.name} cannot be opened: its key was destroyed"):
            elsewhere.log(copied.generation).fetch(path.name.removesuffix(".sealed"), tmp_path / "x")
    data = _data(kept.folder)
    assert restoring.restore(vault, data).base == second
    assert _numbers(data) == "1,2,3,4,5"


def test_the_last_base_backup_is_not_shredded(kept: Kept, tmp_path: Path) -> None:
    vault = kept.copy(tmp_path)
    with pytest.raises(DevError, match=r"\./dev backup makes one"):
        backup.shred_before(vault, time.time())
    assert len(vault.bases()) == len(vault.ring.periods()) == 2  # type: ignore[union-attr]


def test_age_ends_base_backups_but_for_the_newest(kept: Kept, tmp_path: Path) -> None:
    vault = kept.copy(tmp_path)
    assert backup.prune(vault) == 0
    newest = vault.bases()[-1]
    assert backup.prune(vault, now=time.time() + backup.KEEP_S + 60) == 1
    assert vault.bases() == [newest]
    assert [period.key.id for period in vault.ring.periods()] == [newest.key_id]  # type: ignore[union-attr]


def test_who_died_between_keys_and_files_is_followed(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the keys: what is left then is bytes."""
    vault = kept.copy(tmp_path)
    with monkeypatch.context() as dead, pytest.raises(KeyboardInterrupt):

        def die(*args: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

        dead.setattr(shutil, "rmtree", die)
        backup.prune(vault, keep=1)
    assert [one["key"] for one in backup.shown(vault)] == ["destroyed", "there"]
    assert backup.prune(vault, keep=1) == 1
    assert [one["key"] for one in backup.shown(vault)] == ["there"]


def _damage(vault: Vault, how: str) -> tuple[Path, float | None]:
    """Something happens to a vault; which file is to be named, and up to when is restored."""
    first, second = vault.bases()
    data, other = second.folder / sealed_base.NAME, first.folder / sealed_base.NAME
    segments = sorted(second.generation.glob("wal/*.sealed"))
    if how == "flipped":
        with data.open("r+b") as file:
            file.seek(1_000_000)
            byte = file.read(1)
            file.seek(1_000_000)
            file.write(bytes([byte[0] ^ 1]))
    elif how == "cut":
        with data.open("r+b") as file:
            file.truncate(data.stat().st_size - 65_552)
    elif how == "exchanged":
        shutil.copy(other, data)
    elif how == "about":
        about = second.about | {"endedAt": second.ended_at + 60}
        (second.folder / "about.json").write_text(json.dumps(about))
    elif how == "secrets":
        (vault.root / backup.SECRETS).write_bytes((vault.root / backup.SECRETS).read_bytes()[:-1])
        return vault.root / backup.SECRETS, None
    elif how == "key":
        vault.ring.periods()[-1].file.unlink()  # type: ignore[union-attr]
    else:
        segments[-2].unlink()
        return Path(segments[-2].name.removesuffix(".sealed")), None
    return data, None


@pytest.mark.parametrize("how", ["flipped", "cut", "exchanged", "about", "secrets", "key", "missing segment"])
def test_what_was_changed_is_refused_by_its_name_and_nothing_is_half_restored(
    kept: Kept, tmp_path: Path, how: str
) -> None:
    vault = kept.copy(tmp_path)
    named, at = _damage(vault, how)
    data = _data(kept.folder)
    if how == "missing segment":
        first = vault.bases()[0]
        with pytest.raises(DevError, match=f"segment {named} of the log is missing"):
            restoring.check(vault, first, None)
        return
    with pytest.raises(DevError, match=str(named)):
        restoring.restore(vault, data, until=at)
    assert not list(data.root.glob("postgres*/PG_VERSION")), "no half of a database"


def test_a_segment_that_was_changed_ends_the_restore(kept: Kept, tmp_path: Path) -> None:
    vault = kept.copy(tmp_path)
    second = vault.bases()[-1]
    first = second.about["firstWal"]
    path = next(path for path in sorted(second.generation.glob("wal/*.sealed")) if path.name[:24] >= first)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    data = _data(kept.folder)
    with pytest.raises(DevError, match=f"{path} was changed"):
        restoring.restore(vault, data)
    server = backup.server_of(data)
    assert not server.folder.exists(), "no half of a database"


def test_what_dead_processes_have_half_made_goes(tmp_path: Path) -> None:
    died = subprocess.Popen(["true"])
    died.wait()
    dead, own, other = (tmp_path / f".new-{pid}" for pid in (died.pid, os.getpid(), "x"))
    for draft in (dead, own, other, tmp_path / "20261128T120000"):
        (draft / "data").mkdir(parents=True)
    backup.clear_dead(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [own.name, "20261128T120000"]


def test_keys_and_vaults_that_do_not_belong_together_are_told(kept: Kept, tmp_path: Path) -> None:
    vault, keys = kept.folder / "vault", kept.folder / "keys"
    with pytest.raises(DevError, match=r"is sealed; say where its keys are: --backup-keys"):
        Vault.of(vault)
    Keyring.make(tmp_path / "others")
    with pytest.raises(DevError, match="are not those of"):
        Vault.of(vault, tmp_path / "others")
    with pytest.raises(DevError, match="there is no keyring"):
        Vault.of(vault, tmp_path / "nowhere", make=True)
    with pytest.raises(DevError, match="to lie elsewhere"):
        Vault.of(vault, vault / "keys", make=True)
    with pytest.raises(DevError, match="to lie elsewhere"):
        Vault.of(keys / "vault", keys, make=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DevError, match="not empty"):
        Vault.of(tmp_path / "new", tmp_path / "full", make=True)


def test_up_tells_what_is_not_sealed_and_refuses_keys_that_would_be_lost_with_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataFolder(tmp_path / "data")
    data.create()

    def up(*words: str) -> argparse.Namespace:
        return cli.parser().parse_args(["up", "--backups", str(tmp_path / "vault"), *words])

    assert running._keys(up(), data) is None
    assert "are not encrypted; --backup-keys KEYS seals them" in capsys.readouterr().err
    with pytest.raises(DevError, match="would be lost with it"):
        running._keys(up("--backup-keys", str(data.root / "keys")), data)
    assert not (tmp_path / "vault").exists(), "what is refused has changed nothing"
    assert (
        running._keys(up("--backup-keys", str(tmp_path / "keys"), "--cassandra"), data) == tmp_path / "keys"
    )
    told = capsys.readouterr().err
    assert "is on one disk with" in told
    assert "not sealed" not in told
    with pytest.raises(DevError, match="say where its keys are"):
        running._keys(up(), data)


def test_nobody_who_was_erased_is_forgotten_behind_a_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored database knows fewer of them than the file."""
    known = iter([["b", "a"], ["c"]])

    def manage(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert words[1:4] == ["manage.py", "erase_again", "--write"]
        Path(words[4]).write_text("".join(f"{one}\n" for one in next(known)))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(subprocess, "run", manage)
    file = tmp_path / "erased"
    archiver._write_erased(file)
    archiver._write_erased(file)
    assert file.read_text().split() == ["a", "b", "c"]
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_line_shows_and_shreds(
    kept: Kept, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = kept.copy(tmp_path)
    where = ["--from", str(vault.root), "--backup-keys", str(tmp_path / "keys")]
    assert cli.main(["backups", *where]) == 0
    assert [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()] == ["sealed", "sealed"]
    assert cli.main(["backups", "shred", *where]) == 2
    assert cli.main(["backups", "shred", *where, "--before", "2100-01-01"]) == 1
    assert "./dev backup makes one" in capsys.readouterr().err
    before = backup.stamp(vault.bases()[0].ended_at)  # the second one began later
    when = f"{before[:4]}-{before[4:6]}-{before[6:8]}T{before[9:11]}:{before[11:13]}:{before[13:]}"
    assert cli.main(["backups", "shred", *where, "--before", when]) == 0
    assert len(vault.bases()) == 1


def test_a_vault_of_before_there_were_keys_is_read_and_goes_on_sealed(kept: Kept, tmp_path: Path) -> None:
    shutil.copytree(kept.folder / "plain", tmp_path / "vault")
    vault = Vault.of(tmp_path / "vault", tmp_path / "keys", make=True)
    assert [one["key"] for one in backup.shown(vault)] == [None]
    data = _data(kept.folder)
    data.create()
    data.secrets.write_text(kept.secrets)
    vault.keep_files(data)
    assert not (vault.root / "secrets.json").exists()
    assert not (vault.root / "media").exists()
    data = _data(kept.folder)
    restoring.restore(vault, data)
    assert data.secrets.read_text() == kept.secrets
    assert (data.root / "media" / "photos" / "somebody").read_bytes() == FILE * 100
    assert _numbers(data) == "1,2,3,4,5"
