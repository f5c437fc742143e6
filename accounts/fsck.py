"""Accounts against the engine, and pictures against their files: sections of fsck (``delivery/fsck``).

What accounts say counts: a device, a block, a picture is there because somebody was allowed to make it so.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.core.files.storage import default_storage
from django.db import DatabaseError, transaction

from accounts.limits import HOUR_MS
from accounts.models import Account, Block, Device, Photo, Picture
from accounts.services.devices import end_device
from delivery.fsck.engine import Engine
from delivery.fsck.section import BUSY, Finding, Keys, facts, some
from delivery.store.interface import Unavailable
from delivery.store.sync import SyncStore
from whatsapp.infra.clock import now_ms

_NIL: Final = uuid.UUID(int=0)
_AWAY: Final = (Unavailable, DatabaseError, OSError)


def _after(after: str) -> uuid.UUID:
    return uuid.UUID(after) if after else _NIL


class Devices:
    """Each linked device is known to the engine, as its user's; each other one is not."""

    name = "linked"

    def __init__(self, store: SyncStore, engine: Engine) -> None:
        self._store, self._engine = store, engine

    def keys(self, after: str, limit: int) -> Keys:
        """Of both sides: what only the engine knows is no device of anybody."""
        ids = Device.objects.filter(pk__gt=_after(after)).order_by("pk").values_list("pk", flat=True)[:limit]
        known = () if self._engine.unordered else self._engine.devices(after, limit).keys
        return some(sorted({*map(str, ids), *known})[:limit], limit)

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return [finding.key for finding in self._examine(keys)]

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        linked = self._engine.linked(keys)
        rows = {
            str(device.pk): device for device in Device.objects.filter(pk__in=keys).select_related("user")
        }
        found = []
        for key in keys:
            device, user = rows.get(key), linked.get(key)
            if device is None:
                if user is not None:
                    found.append(Finding("device.unknown", key, facts(user=user)))
            elif device.unlinked_at is None and device.user.retired_at is not None:
                found.append(Finding("device.of_ended", key, facts(user=device.user_id)))
            elif device.unlinked_at is None and user is None:
                found.append(Finding("device.missing", key, facts(user=device.user_id)))
            elif user is not None and (device.unlinked_at is not None or user != str(device.user_id)):
                kind = "device.ended" if device.unlinked_at is not None else "device.misplaced"
                found.append(Finding(kind, key, facts(user=user)))
        return found

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for key in keys:
            try:
                with transaction.atomic():
                    found = self._settle(key, repair)
                if repair and found:
                    # Elsewhere it is mended with the commit.
                    left = self._examine([key])
                    found = [finding._replace(mended=finding not in left) for finding in found]
                yield from found
            except _AWAY:
                yield Finding(BUSY, key)

    def _settle(self, key: str, repair: bool) -> list[Finding]:
        device = Device.objects.filter(pk=key).first()
        if device is not None:
            # Linking and unlinking hold the account.
            Account.objects.select_for_update().get(pk=device.user_id)
            self._store.settle(str(device.user_id))
        found = self._examine([key])
        if repair:
            for finding in found:
                self._mend(finding)
        return found

    def _mend(self, finding: Finding) -> None:
        device = Device.objects.filter(pk=finding.key).first()
        user, now = str(dict(finding.facts)["user"]), now_ms()
        if finding.kind == "device.of_ended":
            if device is not None:
                end_device(device=device, now=now, reason="ended")
            return
        if finding.kind != "device.missing":
            self._store.unlink_device(user, finding.key, now)
        if finding.kind in ("device.missing", "device.misplaced") and device is not None:
            # Since it was linked: it gets something twice rather than not at all.
            self._store.link_device(str(device.user_id), finding.key, now, max(1, device.linked_at))


class Strangers(Devices):
    """Of the engine's devices, where they do not come in the order of ids."""

    name = "strangers"

    def keys(self, after: str, limit: int) -> Keys:
        return self._engine.devices(after, limit)


class Blocks:
    """A block withholds, and nothing else does. By who has blocked."""

    name = "blocks"

    def __init__(self, store: SyncStore, engine: Engine) -> None:
        self._store, self._engine = store, engine

    def keys(self, after: str, limit: int) -> Keys:
        ids = Account.objects.filter(pk__gt=_after(after)).order_by("pk").values_list("pk", flat=True)[:limit]
        return some([str(id_) for id_ in ids], limit)

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return list(dict.fromkeys(finding.key for finding in self._examine(keys)))

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        engine = self._engine.blocked(keys)
        rows = Block.objects.filter(owner__in=keys).values_list("owner_id", "user_id")
        own = {(str(owner), str(user)) for owner, user in rows}
        pairs = {pair: (min(pair), max(pair)) for pair in own - engine}
        direct = self._engine.have_direct(list(pairs.values()))
        missing = sorted(pair for pair, key in pairs.items() if key in direct)
        return [Finding("block.missing", owner, facts(user=user)) for owner, user in missing] + [
            Finding("block.lifted", owner, facts(user=user)) for owner, user in sorted(engine - own)
        ]

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for key in keys:
            try:
                with transaction.atomic():
                    # Who blocks or unblocks holds the account.
                    Account.objects.select_for_update(no_key=True).get(pk=key)
                    self._settle(key)
                    found = self._examine([key])
                    if repair:
                        for finding in found:
                            user = str(dict(finding.facts)["user"])
                            self._store.withhold(key, user, finding.kind == "block.missing", now_ms())
                if repair and found:
                    # Elsewhere it is mended with the commit.
                    left = self._examine([key])
                    found = [finding._replace(mended=finding not in left) for finding in found]
                yield from found
            except _AWAY:
                yield Finding(BUSY, key)

    def _settle(self, key: str) -> None:
        """Have carried out what is written down of the conversations in which something seems wrong."""
        users = {str(dict(finding.facts)["user"]) for finding in self._examine([key])}
        pairs = [(min(key, user), max(key, user)) for user in users]
        for conversation in self._engine.have_direct(pairs).values():
            if conversation:
                self._store.settle(conversation)


class Pictures:
    """Each picture that is shown has its two files. Mended: it is not shown any more, for nobody can see it anyway."""

    def __init__(self, name: str, kind: type[Picture], shown_by: type[Any], field: str) -> None:
        self.name, self._kind, self._shown_by, self._field = name, kind, shown_by, field

    def keys(self, after: str, limit: int) -> Keys:
        shown = self._kind._default_manager.filter(pk__gt=_after(after), shown_by__isnull=False)
        return some([str(pk) for pk in shown.order_by("pk").values_list("pk", flat=True)[:limit]], limit)

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return [str(picture.pk) for picture in self._of(keys) if self._missing(picture)]

    def _of(self, keys: Sequence[str]) -> Iterable[Picture]:
        return self._kind._default_manager.filter(pk__in=keys, shown_by__isnull=False).distinct()

    @staticmethod
    def _missing(picture: Picture) -> int:
        """How many of its files are not there. Raises what the storage raises."""
        return sum(not default_storage.exists(name) for name in picture.names.values())

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for picture in self._of(keys):
            key = str(picture.pk)
            try:
                missing = self._missing(picture)
                if not missing:
                    continue
                with transaction.atomic():
                    shown = self._shown_by._default_manager.select_for_update(no_key=True)
                    owners = list(shown.filter(**{self._field: picture.pk}))
                    if not owners:
                        continue  # another one is shown since: its files went with it
                    if repair:
                        for owner in owners:
                            setattr(owner, self._field, None)
                            owner.save(update_fields=[self._field])
                yield Finding("picture.files_missing", key, facts(missing=missing), repair)
            except Exception:  # each storage has its own
                yield Finding(BUSY, key)


class Files:
    """Each file belongs to a picture. A picture's row is older than its files and lives longer."""

    def __init__(self, name: str, kind: type[Picture], root: str) -> None:
        self.name, self._kind, self._root = name, kind, root

    def keys(self, after: str, limit: int) -> Keys:
        """Folders, one an account or group."""
        try:
            folders, _ = default_storage.listdir(self._root)
        except FileNotFoundError:
            folders = []
        return some(sorted(folder for folder in folders if folder > after)[:limit], limit)

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return [key for key in keys if any(True for _ in self._orphans(key))]

    def _orphans(self, folder: str) -> Iterable[str]:
        try:
            _, files = default_storage.listdir(f"{self._root}/{folder}")
        except FileNotFoundError:
            return
        stems: dict[str, list[str]] = {}
        for file in files:
            stem = file.removesuffix(".jpg").removesuffix("-thumb").rpartition("-")[2]
            stems.setdefault(stem, []).append(f"{self._root}/{folder}/{file}")
        ids = {stem: uuid.UUID(stem) for stem in stems if _is_hex(stem)}
        known = set(self._kind._default_manager.filter(pk__in=ids.values()).values_list("pk", flat=True))
        for stem, names in stems.items():
            if ids.get(stem) not in known:
                yield from names

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for key in keys:
            try:
                for name in self._orphans(key):
                    modified = default_storage.get_modified_time(name).timestamp() * 1000
                    if modified > now_ms() - HOUR_MS:
                        continue
                    if repair:
                        default_storage.delete(name)
                    gone = repair and not default_storage.exists(name)
                    yield Finding("file.orphan", key, facts(name=name.rpartition("/")[2]), gone)
            except Exception:  # each storage has its own
                yield Finding(BUSY, key)


def _is_hex(text: str) -> bool:
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)


def against_engine(store: SyncStore, engine: Engine) -> list[Any]:
    strangers = [Strangers(store, engine)] if engine.unordered else []
    return [Devices(store, engine), *strangers, Blocks(store, engine)]


def sections() -> list[Any]:
    return [Pictures("photos", Photo, Account, "photo"), Files("photo-files", Photo, "photos")]
