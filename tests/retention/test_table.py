"""The table of the retention: nothing that tells something about a person stands outside it, and every job in it exists."""

from __future__ import annotations

from typing import Any

import pytest
from cassandra.cqlengine.models import Model
from django.apps import apps
from django.conf import settings

from accounts.management.commands.retention import markdown
from delivery.cassandra_schema import models as on_cassandra
from devtools.paths import REPO
from whatsapp.infra import retention
from whatsapp.infra.retention import Policy

#: What a policy may be ended by, besides a job.
OTHERS = ("ttl: ", "erasure", "operator: ")


def _tables() -> list[str]:
    django = [
        model._meta.label for model in apps.get_models() if model._meta.managed and not model._meta.proxy
    ]
    cassandra = [
        f"cassandra.{value.__table_name__}"
        for value in vars(on_cassandra).values()
        if isinstance(value, type) and issubclass(value, Model) and value is not Model
    ]
    return [label for label in django if not label.startswith("cassandra_schema.")] + cassandra


def _known() -> set[str]:
    named = {where for policy in retention.policies() for where in policy.where}
    return named | set(retention.without_a_person())


@pytest.mark.parametrize("table", _tables())
def test_every_table_has_a_policy_or_a_reason(table: str) -> None:
    assert table in _known(), f"{table} is in no policy of the retention: add it to its app's retention.py"


def test_no_policy_names_a_table_that_is_gone() -> None:
    named = {where for where in _known() if not where.startswith(("valkey.", "files."))}
    assert named <= set(_tables())


def test_a_table_is_personal_or_is_not() -> None:
    named = {where for policy in retention.policies() for where in policy.where}
    assert not named & set(retention.without_a_person())


@pytest.mark.parametrize("policy", retention.policies(), ids=lambda policy: policy.name)
def test_who_ends_a_policy_exists(policy: Policy) -> None:
    job = policy.by in settings.CELERY_BEAT_SCHEDULE
    assert job or policy.by.startswith(OTHERS), policy.by
    assert all((policy.what, policy.why, policy.keep, policy.where)), "every column says something"
    if job and policy.name not in UNCOUNTED:
        assert policy.due or policy.overdue, "what a job ends can be counted when it does not"


#: Jobs that keep a number of rows, or of which nothing is left to count.
UNCOUNTED = {"media_storage", "push_targets", "task_runs"}


def test_a_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_policies", dict(retention._policies))
    taken = retention.policies()[0]
    retention.register([taken])  # the same again, as when apps are set up twice
    again: Any = Policy(taken.name, "", (), "", "", "erasure")
    with pytest.raises(ValueError, match=taken.name):
        retention.register([again])


def test_the_document_has_the_table() -> None:
    """``manage.py retention --markdown`` writes it anew."""
    document = (REPO / "docs" / "data-protection.md").read_text()
    assert markdown() in document
