"""A page of links to the schedules of django-celery-beat, which has a model for each kind."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

_KINDS = (
    (PeriodicTask, "Which task runs on which schedule, with which arguments; on or off.", "event_repeat"),
    (IntervalSchedule, "Every so many seconds, minutes, hours or days.", "timer"),
    (CrontabSchedule, "At times of the day, the week or the month, as crontab says them.", "calendar_month"),
    (ClockedSchedule, "Once, at a time.", "alarm"),
    (SolarSchedule, "By sunrise, noon and sunset of a place.", "wb_twilight"),
)


def schedules(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    if not user.has_perm("django_celery_beat.view_periodictask"):
        raise PermissionDenied
    kinds = [
        {
            "title": str(model._meta.verbose_name_plural).capitalize(),
            "text": text,
            "icon": icon,
            "link": f"admin:django_celery_beat_{model._meta.model_name}_changelist",
        }
        for model, text, icon in _KINDS
        if user.has_perm(f"django_celery_beat.view_{model._meta.model_name}")
    ]
    context = {**admin.site.each_context(request), "title": "Schedules", "kinds": kinds}
    return TemplateResponse(request, "staff/schedules.html", context)
