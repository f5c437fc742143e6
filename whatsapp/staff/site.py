"""The admin site: who may enter, which pages it has besides those of models, and what it says when it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern, path
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import method_decorator
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache
from unfold.sites import UnfoldAdminSite

from delivery.store.interface import Unavailable
from whatsapp.staff import (
    approvals_page,
    audit,
    audit_page,
    dashboard,
    jobs,
    lawful,
    limits_page,
    links,
    push_health,
    registrations_page,
    residency_page,
    retention_page,
    schedules,
    signin,
)
from whatsapp.staff.moderation import urls as moderation
from whatsapp.staff.online import page as online

View = Callable[..., HttpResponse]


def environment(request: HttpRequest) -> list[str] | None:
    """A label in the corner, so that nobody takes a development system for the real one."""
    name = settings.WHATSAPP_ENV
    return None if name == "production" else [name.capitalize(), "warning"]


def _drawn(response: HttpResponse) -> HttpResponse:
    return response.render() if isinstance(response, SimpleTemplateResponse) else response


class StaffSite(UnfoldAdminSite):
    index_title = "Dashboard"
    index_template = "staff/dashboard.html"
    enable_nav_sidebar = True

    def has_permission(self, request: HttpRequest) -> bool:
        """Active staff whose session rests on a second factor (``OTPMiddleware``)."""
        user: Any = request.user
        return bool(user.is_active and user.is_staff and hasattr(user, "is_verified") and user.is_verified())

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Refusals of pages are pages. A page is drawn here: its links are for who asks (:mod:`whatsapp.staff.links`), and what
        is found only while it is drawn is a refusal too."""
        inner = super().admin_view(view, cacheable)

        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                return _drawn(inner(request, *args, **kwargs))
            except PermissionDenied:
                return self._refusal(
                    request, 403, "Not for you", "Your account has no permission for this page."
                )
            except Http404:
                return self._refusal(request, 404, "Nothing here", "There is no such page or object.")
            except Unavailable:
                return self._refusal(
                    request,
                    503,
                    "Not now",
                    "The store of the messages cannot be reached. Try again in a moment.",
                )

        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            with links.read_by(request):
                return _drawn(answered(request, *args, **kwargs))

        # What decorators have said about the view (csrf_protect, never_cache) is said about this one.
        shown.__dict__.update(getattr(inner, "__dict__", {}))
        return shown

    def _refusal(self, request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
        context = {**self.each_context(request), "title": title, "text": text}
        response = TemplateResponse(request, "staff/refusal.html", context, status=status)
        add_never_cache_headers(response)
        return response

    def catch_all_view(self, request: HttpRequest, url: str) -> HttpResponse:
        if self.has_permission(request) and request.path.endswith("/"):
            return self._refusal(request, 404, "Nothing here", "There is no such page or object.")
        return super().catch_all_view(request, url)  # type: ignore[no-any-return]

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The first of two steps (:mod:`whatsapp.staff.signin`)."""
        if request.method == "GET" and self.has_permission(request):
            return redirect("admin:index")
        context = {
            **self.each_context(request),
            "title": "Log in",
            "subtitle": None,
            "app_path": request.get_full_path(),
            **(extra_context or {}),
        }
        if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
            context[REDIRECT_FIELD_NAME] = "/admin/"
        request.current_app = self.name  # type: ignore[attr-defined]
        return signin.PasswordView.as_view(extra_context=context)(request)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        staff: Any = request.user
        with transaction.atomic():
            answer: HttpResponse = super().password_change(request, extra_context)
            if request.method == "POST" and answer.status_code == 302:
                audit.record(by=staff, on=staff, action="staff.password", message="Changed the own password.")
        return answer

    @method_decorator(never_cache)
    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        staff: Any = request.user
        with transaction.atomic():
            if request.method == "POST" and self.has_permission(request):
                audit.record(by=staff, on=staff, action="staff.signed_out", message="Signed out.")
            answer: HttpResponse = super().logout(request, extra_context)
        return answer

    def extra_urls(self) -> list[URLPattern]:
        wrap = self.admin_view
        return [
            path("second-factor/", signin.second_step, name="second_factor"),
            path("enrol/", signin.enrolment, name="enrol"),
            path("security/", wrap(signin.security), name="security"),
            path("online/", wrap(online.online), name="online"),
            path("online/end/", wrap(online.end), name="online_end"),
            path("jobs/", wrap(jobs.jobs), name="jobs"),
            path("jobs/<int:pk>/run/", wrap(jobs.run_now), name="job_run"),
            path("schedules/", wrap(schedules.schedules), name="schedules"),
            path("push/", wrap(push_health.push_health), name="push_health"),
            path("approvals/", wrap(approvals_page.listing), name="approvals"),
            path("approvals/<uuid:pk>/", wrap(approvals_page.one), name="approval"),
            path("audit/", wrap(audit_page.checks), name="audit_checks"),
            path("accounts/lawfulrequest/<uuid:pk>/file/", wrap(lawful.file), name="lawful_file"),
            path("registrations/", wrap(registrations_page.registrations), name="registrations"),
            path("registrations/switch/", wrap(registrations_page.switch), name="registrations_switch"),
            path("limits/", wrap(limits_page.limits), name="limits"),
            path("retention/", wrap(retention_page.retention), name="retention"),
            path("residency/", wrap(residency_page.residency), name="residency"),
            *moderation.urls(wrap),
        ]

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """With a number at the items that count something (``count``), asked once a page and only for who sees the item."""
        groups: list[dict[str, Any]] = super().get_sidebar_list(request)
        for item in (item for group in groups for item in group["items"]):
            if "count" in item and item["has_permission"]:
                item["badge"] = str(import_string(item["count"])(request) or "")
        return groups

    def get_urls(self) -> list[Any]:
        """Without Django's redirect to an object's own site, by numbers of tables and rows: nothing here has one."""
        return [entry for entry in super().get_urls() if getattr(entry, "name", "") != "view_on_site"]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().index(request, {**dashboard.context(request), **(extra_context or {})})
