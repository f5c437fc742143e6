"""Staff users, groups and permissions, and the log of what staff did. Only superusers change who may do what."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from whatsapp.staff import audit, second_factor
from whatsapp.staff.admins.base import ReadOnlyAdmin, RecordedAdmin
from whatsapp.staff.admins.filters import StaffFilter
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.models import Authenticator
from whatsapp.staff.times import NONE, when

admin.site.unregister(User)
admin.site.unregister(Group)


class _SuperusersChange:
    """With "change user" alone one could make oneself a superuser: whoever is none may look, if permitted, and no more."""

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


@admin.register(User)
class StaffUserAdmin(_SuperusersChange, DjangoUserAdmin, ReadOnlyAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "roles", "shown_staff", "shown_superuser", "factor", "last_seen")
    list_filter = ("is_staff", "is_superuser", "is_active", "groups")
    actions_detail = ("reset_factor",)
    filter_horizontal = ("groups", "user_permissions")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "usable_password", "password1", "password2")}),
        ("May", {"fields": ("is_staff", "groups")}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        queryset: QuerySet[User] = super().get_queryset(request)
        return queryset.annotate(
            enrolled=Exists(Authenticator.objects.filter(user=OuterRef("pk"), confirmed=True))
        ).prefetch_related("groups")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_changeform_initial_data(request), "is_staff": True}

    @display(description="Roles")
    def roles(self, user: User) -> str:
        return ", ".join(sorted(group.name for group in user.groups.all())) or NONE

    @display(description="Staff", boolean=True, ordering="is_staff")
    def shown_staff(self, user: User) -> bool:
        return user.is_staff and user.is_active

    @display(description="Superuser", boolean=True, ordering="is_superuser")
    def shown_superuser(self, user: User) -> bool:
        return user.is_superuser

    @display(description="Second factor", label={"enrolled": "success", "at next login": "warning"})
    def factor(self, user: Any) -> str:
        return "enrolled" if user.enrolled else "at next login"

    @display(description="Last login", ordering="last_login")
    def last_seen(self, user: User) -> str:
        return when(int(user.last_login.timestamp() * 1000)) if user.last_login else "never"

    def has_reset_permission(self, request: Any, object_id: Any = None) -> bool:
        """Never one's own: that would be a way around the second factor."""
        return bool(request.user.is_superuser) and str(object_id) != str(request.user.pk)

    @action(
        description="Reset second factor…", permissions=["reset"], url_path="reset-factor", icon="key_off"
    )
    def reset_factor(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Recovery: somebody lost the phone and the backup codes. Another superuser makes sure who asks, and resets."""
        found = User.objects.filter(pk=int(object_id)).first() if str(object_id).isdigit() else None
        if found is None or found.pk == request.user.pk:
            raise Http404

        def do(user: User, form: Form) -> bool:
            with transaction.atomic():
                done = second_factor.reset(user=user)
                if done:
                    message = f"Second factor reset: {form.cleaned_data['reason']}"
                    audit.record(by=request.user, on=user, action="factor.reset", message=message)  # type: ignore[arg-type]
            return done

        return self.act_on_one(
            request, found, permission="auth.change_user", form=ReasonForm, do=do, title="Reset the second factor?",
            text="The authenticator and the backup codes are forgotten, open sessions end at their next request, and the "
            "next login with the password enrols anew. Make sure by another way that the person who asks is this one.",
            button="Reset", done="The second factor is reset.", nothing="There is no second factor to reset.",
        )  # fmt: skip


@admin.register(Group)
class StaffGroupAdmin(_SuperusersChange, DjangoGroupAdmin, RecordedAdmin):
    filter_horizontal = ("permissions",)


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "user", "what", "what_on", "shown_message")
    list_filter = (StaffFilter,)
    sortable_by = ("at",)
    list_select_related = ("user", "content_type")
    ordering = ("-id",)
    search_fields = ("=object_id",)
    search_help_text = "The id of the object"
    empty_title = "Nobody has done anything"
    empty_text = "What staff do is listed here, with why."
    fieldsets = ((None, {"fields": ("at", "user", "what", "object_id", "shown_message")}),)
    readonly_fields = ("at", "user", "what", "object_id", "shown_message")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LogEntry], search_term: str
    ) -> tuple[QuerySet[LogEntry], bool]:
        return (queryset.filter(object_id=search_term.strip()) if search_term.strip() else queryset), False

    @display(description="When", ordering="id")
    def at(self, entry: LogEntry) -> str:
        return when(int(entry.action_time.timestamp() * 1000))

    @display(description="On")
    def what(self, entry: LogEntry) -> str:
        return str(entry.content_type.name) if entry.content_type else ""

    @display(description="Object")
    def what_on(self, entry: LogEntry) -> str:
        return entry.object_repr

    @display(description="What was done")
    def shown_message(self, entry: LogEntry) -> str:
        return entry.get_change_message() or entry.get_action_flag_display()
