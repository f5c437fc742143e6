"""Tables of the admin. Times are milliseconds since the epoch, from ``whatsapp.infra.clock``."""

from whatsapp.staff.models.approval import Approval
from whatsapp.staff.models.audit import AuditAnchor, AuditCheck, AuditRecord
from whatsapp.staff.models.backups import Backups
from whatsapp.staff.models.conversation import Conversation
from whatsapp.staff.models.factor import Authenticator, BackupCode
from whatsapp.staff.models.moderation import Moderation, Reviewer, ReviewerDay
from whatsapp.staff.models.page import Page
from whatsapp.staff.models.pending_change import PendingChange
from whatsapp.staff.models.task_run import Outcome, TaskRun

__all__ = [
    "Approval",
    "AuditAnchor",
    "AuditCheck",
    "AuditRecord",
    "Authenticator",
    "BackupCode",
    "Backups",
    "Conversation",
    "Moderation",
    "Outcome",
    "Page",
    "PendingChange",
    "Reviewer",
    "ReviewerDay",
    "TaskRun",
]
