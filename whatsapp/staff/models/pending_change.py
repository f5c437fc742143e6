from __future__ import annotations

from delivery.models import Pending


class PendingChange(Pending):
    """A change that the log outside this database is still to be told of. What it says is shown nowhere."""

    class Meta:
        proxy = True
        app_label = "staff"
        verbose_name = "pending change"
        default_permissions = ("view",)
        permissions = [("retry_pendingchange", "Can have a parked change tried again")]

    def __str__(self) -> str:
        return f"change {self.pk} of {self.subject}"
