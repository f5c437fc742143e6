from __future__ import annotations

from django.db import models


class Page(models.Model):
    """No table: permissions of pages that show no model's rows."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("view_online", "Can view sessions online"),
            ("end_session", "Can end a session of a device"),
            ("view_limits", "Can view limits"),
        ]
