"""Runs of tasks, and the schedules of django-celery-beat in the looks of the rest."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_celery_beat import admin as beat
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from whatsapp.staff import audit
from whatsapp.staff.admins.base import ReadOnlyAdmin, RecordedAdmin
from whatsapp.staff.models import TaskRun
from whatsapp.staff.templatetags.staff import state_label
from whatsapp.staff.times import NONE, span, when

for _model in (PeriodicTask, IntervalSchedule, CrontabSchedule, ClockedSchedule, SolarSchedule):
    admin.site.unregister(_model)


@admin.register(TaskRun)
class TaskRunAdmin(ReadOnlyAdmin):
    list_display = ("task", "shown_outcome", "started", "took", "error_shown", "job_shown", "worker")
    list_filter = ("outcome", "task")
    ordering = ("-id",)
    empty_title = "No task has run"
    empty_text = "Workers write down what they run. Nothing for minutes: no worker runs, or beat is away."
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "task",
                    "job_shown",
                    "shown_outcome",
                    "error_shown",
                    "started",
                    "took",
                    "worker",
                    "task_id",
                )
            },
        ),
    )
    readonly_fields = (
        "task",
        "job_shown",
        "shown_outcome",
        "error_shown",
        "started",
        "took",
        "worker",
        "task_id",
    )

    @display(description="Outcome")
    def shown_outcome(self, run: TaskRun) -> SafeString:
        return state_label(run.outcome)

    @display(description="Started", ordering="id")
    def started(self, run: TaskRun) -> str:
        return when(run.started_at)

    @display(description="Took")
    def took(self, run: TaskRun) -> str:
        return NONE if run.duration_ms is None else span(run.duration_ms)

    @display(description="Error")
    def error_shown(self, run: TaskRun) -> str:
        return run.error or NONE

    @display(description="Schedule")
    def job_shown(self, run: TaskRun) -> str:
        return run.job or NONE


class _TaskSelect(UnfoldAdminSelectWidget, beat.TaskSelectWidget):
    pass


class _TaskForm(beat.PeriodicTaskForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "task" in self.fields:
            self.fields["task"].widget = UnfoldAdminTextInputWidget()
        if "regtask" in self.fields:
            self.fields["regtask"].widget = _TaskSelect()


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(beat.PeriodicTaskAdmin, RecordedAdmin):
    """As django-celery-beat's own; who may change one can run any task of the workers."""

    form = _TaskForm
    list_display = ("name", "shown_enabled", "task", "scheduler", "last_run", "total_run_count")
    list_filter = ("enabled", "one_off")
    date_hierarchy = None
    actions = ("enable_tasks", "disable_tasks")
    list_fullwidth = True
    change_form_template = None

    @display(description="Enabled", boolean=True, ordering="enabled")
    def shown_enabled(self, task: PeriodicTask) -> bool:
        return task.enabled

    @display(description="Last sent", ordering="last_run_at")
    def last_run(self, task: PeriodicTask) -> str:
        return when(int(task.last_run_at.timestamp() * 1000)) if task.last_run_at else NONE

    @admin.action(description="Switch on", permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, on=True)

    @admin.action(description="Switch off", permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], *, on: bool) -> None:
        """As django-celery-beat's own, and written down."""
        staff: Any = request.user
        message = "Switched on." if on else "Switched off."
        with transaction.atomic():
            chosen = list(queryset.select_for_update(of=("self",)))
            queryset.update(enabled=True) if on else queryset.update(enabled=False, last_run_at=None)
            PeriodicTasks.update_changed()
            for task in chosen:
                audit.record(by=staff, on=task, action="job.switched", message=message)
        messages.success(request, f"{message[:-1]}: {len(chosen)}.")

    def has_run_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return bool(user.has_perm("staff.run_job"))


class _UsedBy(TabularInline):
    model = PeriodicTask
    fields = ("name", "task", "args", "kwargs")
    readonly_fields = fields
    can_delete = False
    extra = 0
    show_change_link = True
    verbose_name_plural = "Tasks on this schedule"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(IntervalSchedule, SolarSchedule)
class ScheduleAdmin(RecordedAdmin):
    inlines = (_UsedBy,)


@admin.register(CrontabSchedule)
class CrontabAdmin(ScheduleAdmin):
    list_display = ("__str__", "human_readable")
    fields = ("human_readable", "minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")
    readonly_fields = ("human_readable",)


@admin.register(ClockedSchedule)
class ClockedAdmin(ScheduleAdmin):
    list_display = ("clocked_time",)
    fields = ("clocked_time",)
