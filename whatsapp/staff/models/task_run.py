from __future__ import annotations

from django.db import models


class Outcome(models.TextChoices):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class TaskRun(models.Model):
    """One run of a Celery task, recorded by the worker that ran it. Bounded: ``whatsapp.staff.recorder`` keeps the newest."""

    task = models.CharField(max_length=200)
    job = models.CharField(
        max_length=200, blank=True, default="", help_text="the schedule's name, if it was due"
    )
    task_id = models.CharField(max_length=64)
    worker = models.CharField(max_length=200, blank=True, default="")
    started_at = models.BigIntegerField()
    duration_ms = models.BigIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=16, choices=Outcome.choices, default=Outcome.RUNNING)
    error = models.CharField(max_length=200, blank=True, default="", help_text="class of the exception")

    class Meta:
        verbose_name = "run"
        default_permissions = ("view",)
        permissions = [("run_job", "Can run a job now")]
        indexes = [models.Index(fields=["task", "-id"], name="staff_task_run_newest")]

    def __str__(self) -> str:
        return f"{self.task} {self.pk}"
