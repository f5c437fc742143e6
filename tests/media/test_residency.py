"""Files go nowhere but to where their owner and their conversation may be."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest

from delivery.ids import conversation_id
from media.models import Media, Upload
from media.storage import Storage
from tests.accounts.test_residency import of, regions  # noqa: F401 - a fixture
from tests.media.conftest import Person, assert_problem, direct, kept
from tests.media.test_form import file, upload
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def _tus(person: Person, conversation: str) -> Any:
    said = {"fileType": "document", "conversationId": conversation, "filetype": "application/pdf"}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in said.items())
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "18", "Upload-Metadata": metadata}
    return person.api.post("/media/tus", headers=headers)


def _form(person: Person, conversation: str) -> Any:
    return upload(person, {"file": file(), "fileType": "document", "conversationId": conversation})


@pytest.mark.parametrize("way", [_form, _tus], ids=["form", "tus"])
def test_an_upload_is_refused_where_it_may_not_be(folder: Storage, regions: Any, way: Any) -> None:  # noqa: F811
    ann, bob = of(1, regions), of(1, regions)
    regions(1, home=1, numbers={"*": 1})
    chat = direct(ann, bob)
    assert way(ann, chat).status_code in (200, 201)
    before = (Media.objects.count(), Upload.objects.count(), kept(folder))
    # Of a conversation of elsewhere nobody is told whether there is one.
    for theirs in (conversation_id(now_ms(), "direct", 2), str(uuid.uuid4())):
        assert_problem(way(ann, theirs), "wrong_region", 421)
    regions(2, home=2, numbers={"*": 2})
    problem = assert_problem(way(ann, chat), "wrong_region", 421)
    assert problem["details"]["region"] == 1
    assert (Media.objects.count(), Upload.objects.count(), kept(folder)) == before
