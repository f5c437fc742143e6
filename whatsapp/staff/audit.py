"""What staff did, in Django's own log of the admin (``LogEntry``): shown by the audit log and by "history" of each object."""

from __future__ import annotations

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model


def record(*, by: User, on: Model, message: str, flag: int = CHANGE, action: str = "") -> None:
    """Append one entry. ``action``: what was done, as a code (``approval.asked``). ``message`` must hold no personal data of
    people who chat; the object is named by its id."""
    LogEntry.objects.create(
        user_id=by.pk,
        content_type=ContentType.objects.get_for_model(on),
        object_id=str(on.pk),
        object_repr=str(on)[:200],
        action_flag=flag,
        change_message=message[:2000],
    )
