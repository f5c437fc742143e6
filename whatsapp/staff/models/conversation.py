from __future__ import annotations

from delivery.models import Head


class Conversation(Head):
    """The head of a conversation's log under the name staff know it by. Its events' contents are shown nowhere."""

    class Meta:
        proxy = True
        app_label = "staff"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.conversation)
