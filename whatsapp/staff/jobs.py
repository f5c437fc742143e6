"""Jobs: what beat does when, how the last run went, and "run now"."""

from __future__ import annotations

from typing import Any

from celery import current_app
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError
from kombu.utils.json import loads

from whatsapp.staff import audit, confirm, job_state
from whatsapp.staff.forms import ReasonForm


def jobs(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not user.has_perm("staff.view_taskrun"):
        raise PermissionDenied
    context = {
        **admin.site.each_context(request),
        "title": "Jobs",
        "jobs": job_state.all_jobs(),
        "may_run": user.has_perm("staff.run_job"),
        "may_edit": user.has_perm("django_celery_beat.view_periodictask"),
    }
    return TemplateResponse(request, "staff/jobs.html", context)


def run_now(request: HttpRequest, pk: int) -> HttpResponse:
    """Enqueue a job as beat would. Every job may run twice at once, so there is nothing to wait for."""
    user: Any = request.user
    if not user.has_perm("staff.run_job"):
        raise PermissionDenied
    task = get_object_or_404(PeriodicTask, pk=pk)
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = _arguments(task)
        if given is None:
            messages.error(
                request, "The arguments of this job are no list and no object of names; nothing was enqueued."
            )
            return redirect("admin:jobs")
        options = {"queue": task.queue} if task.queue else {}
        try:
            with (
                transaction.atomic()
            ):  # no job without its record: that comes first, and goes with a broker that is away
                audit.record(
                    by=user, on=task, action="job.run", message=f"Run now: {form.cleaned_data['reason']}"
                )
                current_app.send_task(
                    task.task,
                    args=given[0],
                    kwargs=given[1],
                    headers={"periodic_task_name": task.name},
                    retry=False,
                    **options,
                )
        except (OperationalError, OSError):
            messages.error(request, "The broker cannot be reached; nothing was enqueued.")
        else:
            messages.success(
                request, f"“{task.name}” is enqueued; its run appears here when a worker takes it."
            )
        return redirect("admin:jobs")
    return confirm.page(
        request,
        site=admin.site,
        title=f"Run “{task.name}” now",
        text="A worker runs it as soon as it is free. Its schedule does not change.",
        objects=[task.task],
        form=form,
        button="Run now",
        back=reverse("admin:jobs"),
        danger=False,
    )


def _arguments(task: PeriodicTask) -> tuple[list[Any], dict[str, Any]] | None:
    """None: they are none. The form of django-celery-beat takes any JSON."""
    try:
        args, kwargs = loads(task.args or "[]"), loads(task.kwargs or "{}")
    except ValueError:
        return None
    return (args, kwargs) if isinstance(args, list) and isinstance(kwargs, dict) else None
