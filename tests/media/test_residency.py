"""Files and regions: bytes come only to where both their owner and their conversation may be, whichever way they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from django.http import HttpResponse

from media.models import Media, Upload
from media.storage import Storage
from media.storage.interface import LEAST_PART
from tests.accounts.test_photos import put as put_photo
from tests.accounts.test_residency import of, regions  # noqa: F401 - a fixture
from tests.groups.pictures import put as put_icon
from tests.media.conftest import Person, Tus, assert_problem, direct, kept, make
from tests.media.test_form import file, upload
from tests.media.test_presigned import begin as begin_presigned
from tests.media.test_presigned import complete, put_all
from tests.media.test_process import photo

pytestmark = pytest.mark.django_db

SIZE: Final = 4_000


def by_form(person: Person, chat: str) -> Any:
    return upload(person, {"fileType": "document", "conversationId": chat, "file": file()})


def by_form_behind(person: Person, chat: str) -> Any:
    """Where it belongs is said behind the bytes."""
    return upload(person, {"file": file(), "fileType": "document", "conversationId": chat})


def by_tus(person: Person, chat: str) -> Any:
    return Tus(person).begin(chat, SIZE)


def by_tus_with_bytes(person: Person, chat: str) -> Any:
    return Tus(person).begin(chat, SIZE, b"x" * SIZE, Content_Type="application/offset+octet-stream")


def by_presigned(person: Person, chat: str) -> Any:
    return begin_presigned(person, chat, SIZE)


WAYS: Final = (by_form, by_form_behind, by_tus, by_tus_with_bytes, by_presigned)
Way = Callable[[Person, str], HttpResponse]


@pytest.fixture
def people(folder: Storage, limits: Any, regions: Callable[..., None]) -> tuple[Person, Person, Person]:  # noqa: F811
    """Ann and Bob are at home in region 2, Eve in 1, where the law is stricter."""
    limits(media_signed_part_bytes=LEAST_PART)
    return of(2, regions), of(2, regions), of(1, regions)


def nothing_came(folder: Storage) -> bool:
    return (
        not Media.objects.exclude(state="gone").exists() and not Upload.objects.exists() and not kept(folder)
    )


@pytest.mark.parametrize("way", WAYS)
def test_no_file_comes_into_a_conversation_of_elsewhere(
    way: Way,
    people: tuple[Person, ...],
    folder: Storage,
    regions: Callable[..., None],  # noqa: F811
) -> None:
    ann, bob, eve = people
    here, there, group = direct(ann, bob), direct(ann, eve), make(eve, ann)
    regions(2, home=2, numbers={"*": 2})
    for conversation in (there, group):
        problem = assert_problem(way(ann, conversation), "wrong_region", 421)
        assert problem["details"]["region"] == 1
        assert problem["details"]["url"] == "https://eu.chat.example"
    assert nothing_came(folder)
    assert way(ann, here).status_code in (200, 201)


@pytest.mark.parametrize("way", WAYS)
def test_no_file_comes_from_who_is_at_home_elsewhere(
    way: Way,
    people: tuple[Person, ...],
    folder: Storage,
    regions: Callable[..., None],  # noqa: F811
) -> None:
    ann, _, eve = people
    there = direct(ann, eve)
    regions(1, home=1, numbers={"*": 1})
    assert assert_problem(way(ann, there), "wrong_region", 421)["details"]["region"] == 2
    assert nothing_came(folder)
    assert way(eve, there).status_code in (200, 201)


@pytest.mark.parametrize("way", WAYS)
def test_twin_without_the_look_at_the_conversation_the_file_is_there(
    way: Way,
    people: tuple[Person, ...],
    folder: Storage,
    regions: Callable[..., None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann, _, eve = people
    there = direct(ann, eve)
    regions(2, home=2, numbers={"*": 2})
    monkeypatch.setattr("media.services.uploads.check_conversation", lambda conversation: None)
    assert way(ann, there).status_code in (200, 201)
    assert not nothing_came(folder)


def test_what_was_begun_before_the_regions_does_not_end_here(
    people: tuple[Person, ...],
    folder: Storage,
    regions: Callable[..., None],  # noqa: F811
) -> None:
    """The installation has given a region away while bytes were on their way."""
    ann, _, eve = people
    there = direct(ann, eve)
    tus, path = Tus(ann), by_tus(ann, there).headers["Location"]
    signed = by_presigned(ann, there).json()
    parts = put_all(signed, b"x" * SIZE)
    for home, region in ((2, 1), (1, 2)):  # the conversation is of elsewhere, then its owner
        regions(home, home=home, numbers={"*": home})
        sent = tus.send(path, 0, b"x" * SIZE)
        assert assert_problem(sent, "wrong_region", 421)["details"]["region"] == region
        assert (
            assert_problem(complete(ann, signed, parts), "wrong_region", 421)["details"]["region"] == region
        )
    assert set(Media.objects.values_list("state", flat=True)) == {"uploading"}
    assert tus.ask("DELETE", path).status_code == 204  # to take it back is free
    regions(1, 2, home=1, numbers={"*": 1})
    assert complete(ann, signed, parts).status_code == 200


def test_photos_and_icons_stay_where_their_owners_and_groups_are(
    people: tuple[Person, ...],
    folder: Storage,
    regions: Callable[..., None],  # noqa: F811
) -> None:
    ann, bob, eve = people
    strict, lax = make(ann, eve), make(ann, bob)
    picture = photo((64, 64))
    regions(2, home=2, numbers={"*": 2})
    assert assert_problem(put_icon(ann, strict, picture), "wrong_region", 421)["details"]["region"] == 1
    assert put_icon(ann, lax, picture).status_code == 200
    assert put_photo(ann, picture).status_code == 200
    assert assert_problem(put_photo(eve, picture), "wrong_region", 421)["details"]["region"] == 1
    assert_problem(put_icon(eve, strict, picture), "wrong_region", 421)


def test_twin_the_photo_of_somebody_of_elsewhere(
    people: tuple[Person, ...],
    regions: Callable[..., None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    regions(2, home=2, numbers={"*": 2})
    monkeypatch.setattr("accounts.rest.authentication.check_region", lambda region: None)
    assert put_photo(people[2], photo((64, 64))).status_code == 200
