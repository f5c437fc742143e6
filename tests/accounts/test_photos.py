"""Photos of people, and the profile that everybody reads: who sees them, and for how long what was seen is kept."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.test import Client

from accounts import profiles, squares
from accounts.errors import Refused
from accounts.models import Account, Photo, phone_hash
from accounts.services import photos, privacy
from accounts.services.address_book import sync
from accounts.services.blocks import block
from accounts.services.contacts import put_contact
from accounts.services.profile import update_profile
from accounts.services.recycling import retire
from accounts.tasks import drop_photos
from tests.accounts.conftest import Person, assert_problem, at_once, sign_in
from tests.groups.pictures import animated, form, opened, picture
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _cache(valkey_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(profiles, "_away_until", 0.0)
    yield
    cache.close()


def put(person: Person, data: bytes, media_type: str = "image/jpeg") -> Any:
    headers = {"Authorization": f"Bearer {person.token}"}
    client = Client(raise_request_exception=False)
    return client.generic("PUT", "/me/photo", data, content_type=media_type, headers=headers)


def shown(viewer: Person, user: Person, size: str = "", **headers: str) -> Any:
    return viewer.api.get(f"/users/{user.user_id}/photo{size and f'?size={size}'}", headers=headers)


def profile(viewer: Person, user: Person) -> dict[str, Any]:
    answer = viewer.api.get(f"/users/{user.user_id}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def stored(person: Person) -> list[str]:
    folder = Path(default_storage.location) / "photos" / person.user_id  # type: ignore[attr-defined]
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# -- photos ----------------------------------------------------------------------------------------------------------------


def test_a_photo_is_set_seen_replaced_and_taken_away() -> None:
    ann, bob = sign_in(), sign_in()
    assert profile(bob, ann)["photo"] is None
    assert_problem(shown(bob, ann), "not_found", 404)
    answer = put(ann, *form(("photo", picture(size=(2000, 900)), "image/jpeg")))
    assert answer.status_code == 200, answer.content
    photo = answer.json()["photo"]
    assert photo == {"url": f"/users/{ann.user_id}/photo", "version": photo["version"]}
    assert ann.api.get("/me").json()["photo"] == profile(bob, ann)["photo"] == photo
    assert bob.api.put(f"/contacts/{ann.user_id}", {}).json()["photo"] == photo
    assert bob.api.get("/contacts").json()["items"][0]["photo"] == photo
    for size, side in (("", 640), ("thumb", 150)):
        answer = shown(bob, ann, size)
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert opened(answer.content).size == (side, side)
    answer = shown(bob, ann, **{"If-None-Match": shown(bob, ann).headers["ETag"]})
    assert (answer.status_code, answer.content) == (304, b"")
    before = stored(ann)
    assert put(ann, picture(size=(2000, 900))).json()["photo"] == photo, "the same picture is no other one"
    assert stored(ann) == before
    after = put(ann, picture(colour="blue")).json()["photo"]
    assert after["version"] != photo["version"]
    assert profile(bob, ann)["photo"] == after
    assert len(stored(ann)) == 2
    for _ in range(2):
        assert ann.api.delete("/me/photo").status_code == 204
    assert profile(bob, ann)["photo"] is None
    assert_problem(shown(bob, ann), "not_found", 404)
    assert stored(ann) == []
    assert not Photo.objects.filter(account=ann.user_id).exists()
    assert Account.objects.get(pk=ann.user_id).name == ""


def test_to_whom_a_photo_is_shown() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    photo = put(ann, picture()).json()["photo"]
    ann.api.put(f"/contacts/{bob.user_id}", {})
    ann.api.patch("/me/privacy", {"photo": "contacts"})
    assert (profile(bob, ann)["photo"], profile(eve, ann)["photo"]) == (photo, None)
    assert shown(bob, ann).status_code == 200
    assert_problem(shown(eve, ann), "not_found", 404)
    ann.api.put(f"/blocks/{bob.user_id}")
    assert profile(bob, ann)["photo"] is None
    assert_problem(shown(bob, ann), "not_found", 404)
    ann.api.delete(f"/blocks/{bob.user_id}")
    ann.api.patch("/me/privacy", {"photo": "nobody"})
    assert_problem(shown(bob, ann), "not_found", 404)
    assert shown(ann, ann).status_code == 200, "one's own"
    assert ann.api.get("/me").json()["photo"] == photo


def test_what_is_no_photo_is_refused_and_leaves_nothing() -> None:
    ann = sign_in()
    assert_problem(put(ann, picture("GIF"), "image/gif"), "unsupported_media", 415)
    assert_problem(put(ann, animated("PNG"), "image/png"), "unsupported_media", 415)
    assert_problem(put(ann, b"\0" * (LIMITS.image_bytes + 1)), "too_large", 413)
    assert_problem(put(ann, *form(("icon", picture(), "image/jpeg"))), "bad_request", 400)
    assert_problem(shown(ann, ann, "huge"), "bad_request", 400)
    assert not Photo.objects.filter(account=ann.user_id).exists()
    assert ann.api.get("/me").json()["photo"] is None


def test_photos_an_hour(limits: Any, clock: Any) -> None:
    limits(photos_per_hour=2)
    ann = sign_in()
    for colour in ("red", "blue"):
        assert put(ann, picture(colour=colour)).status_code == 200
    assert_problem(put(ann, picture(colour="green")), "rate_limited", 429)
    assert ann.api.delete("/me/photo").status_code == 204, "one can always take it away"


def test_changes_of_a_profile_an_hour(limits: Any, clock: Any) -> None:
    limits(profile_changes_per_hour=2)
    ann = sign_in()
    for name in ("a", "b", "b"):
        assert ann.api.patch("/me", {"name": name}).status_code == 200
    assert_problem(ann.api.patch("/me", {"about": "c"}), "rate_limited", 429)
    assert ann.api.get("/me").json()["about"] == ""


def test_photos_at_once_leave_one_and_no_orphan() -> None:
    ann = sign_in()
    colours = ["red", "green", "blue", "white"]
    answers = at_once(
        *[lambda colour=colour: put(ann, picture(colour=colour)).status_code for colour in colours]
    )
    assert set(answers) <= {200, 503}
    (photo,) = Photo.objects.filter(account=ann.user_id)
    assert ann.api.get("/me").json()["photo"]["version"] == photo.digest
    assert len(stored(ann)) == 2


def test_a_crash_between_files_and_account_leaves_what_is_found_later(
    monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    ann = sign_in()
    with monkeypatch.context() as patched:

        def crash(account: Account) -> None:
            raise RuntimeError("crash")

        patched.setattr(photos, "take_photo", crash)
        assert put(ann, picture()).status_code == 500
    assert len(stored(ann)) == 2
    assert drop_photos() == 0, "not yet: a request may still be at it"
    clock(3_600_001)
    assert drop_photos() == 1
    assert stored(ann) == []


def test_an_account_that_ends_shows_nothing_more() -> None:
    ann, bob = sign_in(), sign_in()
    put(ann, picture())
    assert profile(bob, ann)["photo"]
    with transaction.atomic():
        retire(account=Account.objects.select_for_update().get(pk=ann.user_id), now=now_ms())
    assert_problem(bob.api.get(f"/users/{ann.user_id}"), "not_found", 404)
    assert_problem(shown(bob, ann), "not_found", 404)
    assert stored(ann) == []


def test_what_comes_while_the_account_ends_is_not_kept() -> None:
    """A request that was let in before: making a picture, or waiting for a lock, takes its time."""
    ann, bob = sign_in(), sign_in()
    account, other = Account.objects.get(pk=ann.user_id), uuid.UUID(bob.user_id)
    with transaction.atomic():
        retire(account=Account.objects.select_for_update().get(pk=ann.user_id), now=now_ms())
    for late in (
        lambda: photos.set_photo(account=account, data=picture(), media_type="image/jpeg"),
        lambda: update_profile(account=account, changes={"name": "Ann"}),
        lambda: privacy.change(account=account, changes={"photo": "nobody"}),
        lambda: put_contact(owner=account, user_id=other, nickname="Bob"),
        lambda: sync(owner=account, hashes=[phone_hash(bob.phone)]),
        lambda: block(owner=account, user_id=other),
    ):
        with pytest.raises(Refused) as refused:
            late()
        assert refused.value.code == Code.NOT_FOUND
    assert stored(ann) == []
    assert not Photo.objects.filter(account=ann.user_id).exists()


# -- the cache of profiles -------------------------------------------------------------------------------------------------


def test_a_profile_is_read_once_and_again_when_it_changes(django_assert_max_num_queries: Any) -> None:
    def was_read() -> bool:
        with django_assert_max_num_queries(4) as queries:
            profile(bob, ann)
        return any("accounts_photo" in query["sql"] for query in queries.captured_queries)

    ann, bob = sign_in(), sign_in()
    assert [was_read() for _ in range(3)] == [True, False, False]
    raw = cache._cache.get_client()  # type: ignore[attr-defined]
    assert 3000 < raw.ttl(cache.make_key(key(ann))) <= 3600
    ann.api.patch("/me", {"name": "Ann"})
    assert profile(bob, ann)["name"] == "Ann"
    assert was_read(), "nothing is kept for a while after a change"
    cache.delete(key(ann))  # the while is over
    assert [was_read() for _ in range(2)] == [True, False]
    ann.api.patch("/me", {"language": "de"})
    assert not was_read(), "that is nobody else's"


def key(person: Person) -> str:
    return f"profile:{person.user_id}"


def change_while_it_is_read(monkeypatch: pytest.MonkeyPatch, store: str) -> str:
    """Ann's name as Bob sees it after he has read her row, she has changed it, and he has come to the cache."""
    ann, bob = sign_in(), sign_in()
    ann.api.patch("/me", {"name": "before"})
    cache.delete(key(ann))
    ask = profiles._ask

    def slow(what: str, *arguments: Any) -> Any:
        if what == "add":
            with monkeypatch.context() as patched:
                patched.setattr(profiles, "_ask", ask)
                ann.api.patch("/me", {"name": "after"})
            what = store
        return ask(what, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(profiles, "_ask", slow)
        assert profile(bob, ann)["name"] == "before"
    return str(profile(bob, ann)["name"])


def test_who_read_before_a_change_does_not_bring_the_old_profile_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert change_while_it_is_read(monkeypatch, "add") == "after"


def test_twin_stored_over_the_mark_the_old_profile_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert change_while_it_is_read(monkeypatch, "set") == "before"


def test_without_the_cache_everything_is_read(settings: Any) -> None:
    ann, bob = sign_in(), sign_in()
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"},
    }
    for name in ("Ann", "Anna"):
        assert ann.api.patch("/me", {"name": name}).status_code == 200
        assert profile(bob, ann)["name"] == name
    assert profiles._away_until > 0, "and it is not asked each time"


def test_a_photo_being_made_holds_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    ann = sign_in()
    held: list[bool] = []
    real = squares.make

    def look(*args: Any, **options: Any) -> Any:
        held.append(connection.connection is not None)
        return real(*args, **options)

    monkeypatch.setattr(squares, "make", look)
    assert put(ann, picture()).status_code == 200
    assert held == [False]
