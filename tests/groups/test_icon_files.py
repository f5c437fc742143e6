"""The files of icons: which are there after changes that are committed, refused, made at once, or cut off."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from accounts import squares
from accounts.services import pictures
from groups.models import Group, Icon
from groups.services import icons
from groups.tasks import drop_icons
from tests.accounts.conftest import parallel
from tests.groups.conftest import assert_problem, make, owed, said, sign_in
from tests.groups.pictures import opened, picture, put, shown
from whatsapp.infra import files

pytestmark = pytest.mark.django_db(transaction=True)


def stored(group: str) -> list[str]:
    """Names of the group's files."""
    folder = Path(default_storage.location) / "groups" / group  # type: ignore[attr-defined]
    return sorted(f"groups/{group}/{path.name}" for path in folder.iterdir()) if folder.exists() else []


def version(person: Any, group: str) -> Any:
    icon = person.api.get(f"/groups/{group}").json()["icon"]
    return icon and icon["version"]


def test_the_old_files_go_once_it_is_committed() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    first, events = stored(group), len(owed(ann, group))
    assert len(first) == 2
    put(ann, group, picture())
    assert len(owed(ann, group)) == events, "the same picture is no change"
    assert stored(group) == first
    put(ann, group, picture(colour="blue"))
    (icon,) = Icon.objects.filter(group_id=group)
    assert stored(group) == sorted(icon.names.values())
    for _ in range(2):
        assert ann.api.delete(f"/groups/{group}/icon").status_code == 204
    assert stored(group) == []
    assert said(owed(bob, group)[-1]) == ("info", ann.user_id, {"icon": None})
    assert len(owed(ann, group)) == events + 2
    assert not Icon.objects.filter(group_id=group).exists()


@pytest.mark.parametrize("end", ["delete", "leave"])
def test_a_group_that_ends_leaves_no_files(end: str) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    if end == "delete":
        ann.api.delete(f"/groups/{group}")
    else:
        for person in (ann, bob):
            person.api.delete(f"/groups/{group}/members/{person.user_id}")
    assert stored(group) == []


def test_a_storage_that_is_away(monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    before = version(ann, group)

    def away(*_: Any) -> Any:
        raise files.FilesUnavailable("down")

    with monkeypatch.context() as patched:
        for name in ("save", "read", "delete"):
            patched.setattr(files, name, away)
        assert_problem(put(ann, group, picture(colour="blue")), "unavailable", 503)
        assert_problem(shown(ann, group), "unavailable", 503)
        assert version(ann, group) == before
        assert ann.api.delete(f"/groups/{group}/icon").status_code == 204, "it is done once that is committed"
    assert len(stored(group)) == 2, "nobody could delete them"
    assert drop_icons() == 0, "not yet: a request may still be at it"
    clock(3_600_001)
    assert drop_icons() == 2
    assert stored(group) == []
    assert not Icon.objects.filter(group_id=group).exists()


def test_what_a_group_shows_is_never_dropped(clock: Any) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    clock(10 * 3_600_000)
    assert drop_icons() == 0
    assert Group.objects.get(pk=group).icon is not None
    assert len(stored(group)) == 2


def test_nobody_says_it_before_it_is_committed(monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
    """A crash where the event would be written: the old picture stays, and what was stored for nothing is found."""
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    before, kept = shown(ann, group).content, stored(group)

    def crash(**_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(icons, "change_group", crash)
        assert put(ann, group, picture(colour="blue")).status_code == 500
    assert shown(bob, group).content == before
    assert len(owed(bob, group)) == 3
    assert len(stored(group)) == 4
    clock(3_600_001)
    assert drop_icons() == 1
    assert stored(group) == kept


@pytest.mark.parametrize(("left", "code", "status"), [(True, "not_found", 404), (False, "forbidden", 403)])
def test_who_lost_the_right_meanwhile_leaves_no_file(
    left: bool, code: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They might when they began; when their picture was ready, they were out, or only admins might."""
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    real = pictures.store

    def slow(*args: Any) -> None:
        real(*args)
        if left:
            ann.api.delete(f"/groups/{group}/members/{bob.user_id}")
        else:
            ann.api.patch(f"/groups/{group}", {"settings": {"whoEdits": "admins"}})

    monkeypatch.setattr(pictures, "store", slow)
    assert_problem(put(bob, group, picture()), code, status)
    assert stored(group) == []
    assert not Icon.objects.filter(group_id=group).exists()
    assert version(ann, group) is None


def test_pictures_at_once_leave_one_and_no_orphan() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    colours = iter(["red", "blue", "green", "red", "blue", "green"])
    lock = threading.Lock()

    def one() -> int:
        with lock:
            colour = next(colours)
        return int(put(ann, group, picture(colour=colour)).status_code)

    assert parallel(6, one) == [200] * 6
    (icon,) = Icon.objects.filter(group_id=group)
    assert Group.objects.get(pk=group).icon_id == icon.pk
    assert stored(group) == sorted(icon.names.values())
    assert version(ann, group) == icon.digest
    told = [said(event)[2]["icon"]["version"] for event in owed(bob, group)[2:]]
    assert told[-1] == icon.digest, "the last event names the picture that is there"
    assert all(first != second for first, second in pairwise(told))
    opened(shown(bob, group).content)


@pytest.mark.parametrize("own_names", [True, False], ids=["own names", "twin: named by content"])
def test_the_same_picture_put_again_while_another_one_comes(
    own_names: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are stored, the other change deletes those of the same picture from before, then it is shown."""
    if not own_names:
        by_content = {"full": "groups/%s/%s.jpg", "thumb": "groups/%s/%s-thumb.jpg"}
        names = property(lambda icon: {k: v % (icon.group_id, icon.digest) for k, v in by_content.items()})
        monkeypatch.setattr(Icon, "names", names)
        monkeypatch.setattr(files, "save", _save_over)
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    real = pictures.store

    def overtaken(*args: Any) -> None:
        monkeypatch.setattr(pictures, "store", real)
        real(*args)
        assert put(ann, group, picture(colour="blue")).status_code == 200

    monkeypatch.setattr(pictures, "store", overtaken)
    assert put(bob, group, picture()).status_code == 200
    assert shown(ann, group).status_code == (200 if own_names else 404)


def _save_over(name: str, data: bytes) -> None:
    default_storage.delete(name)
    default_storage.save(name, ContentFile(data))


def test_a_replacement_between_two_looks_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is read, then its file is gone, for another one is there."""
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    real, replaced = files.read, []

    def late(name: str) -> bytes:
        if not replaced:
            replaced.append(put(ann, group, picture(colour="blue")))
        return real(name)

    monkeypatch.setattr(files, "read", late)
    answer = shown(bob, group)
    assert answer.status_code == 200
    red, _, blue = opened(answer.content).getpixel((9, 9))  # type: ignore[misc]
    assert blue > red


def test_a_decoder_at_work_holds_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    held: list[bool] = []
    real = squares.make

    def look(*args: Any, **options: Any) -> Any:
        held.append(connection.connection is not None)
        return real(*args, **options)

    monkeypatch.setattr(squares, "make", look)
    assert put(ann, group, picture()).status_code == 200
    assert held == [False]
