"""What the pages of models have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from accounts.errors import Refused
from whatsapp.staff import audit, confirm
from whatsapp.staff.counting import BoundedPaginator
from whatsapp.staff.times import NONE

#: What became of a deed: whether it changed anything, or a text for who pressed the button, such as that it waits now.
Done = bool | str
_GONE: Final = "This is gone meanwhile: its account was erased."


class BoundedChangeList(ChangeList):
    """Says nothing in the heading of a total that was not counted."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count = self.result_count

    def get_ordering_field(self, field_name: Any) -> Any:
        """An address that asks for an order which the heading does not offer gets none: it would sort the whole table."""
        return super().get_ordering_field(field_name) if field_name in self.sortable_by else None


class RecordedAdmin(ModelAdmin):
    """What Django's own forms write into its log goes into the chain of the audit log too."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        entry = super().log_addition(request, obj, message)
        self._append(request, [obj], "added", entry.get_change_message())
        return entry

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        entry = super().log_change(request, obj, message)
        self._append(request, [obj], "changed", entry.get_change_message())
        return entry

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        entries = super().log_deletions(request, queryset)
        self._append(request, queryset, "deleted", "Deleted.")
        return entries

    def _append(self, request: HttpRequest, objects: Any, action: str, message: str) -> None:
        staff: Any = request.user
        for found in objects:
            audit.append(by=staff, on=found, action=action, message=message)


def _done(do: Callable[[Any, Form], Done], found: Any, sent: Form) -> Done:
    """What became of it; in words, where it was refused or what it is about has gone since it was looked up: an erasure ends at
    its own time."""
    try:
        return do(found, sent)
    except Refused as refused:
        return refused.message
    except ObjectDoesNotExist:
        return _GONE


class ReadOnlyAdmin(RecordedAdmin):
    """Rows are made and changed by the system; staff act through actions, which do the whole of it and tell the gateways."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True
    list_fullwidth = True
    empty_value_display = NONE
    actions: Any = ()
    #: What an empty list means, if it is not searched or filtered.
    empty_title = "Nothing here"
    empty_text = ""

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:
        return BoundedChangeList

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may(self, request: HttpRequest, permission: str) -> bool:
        user: Any = request.user
        return bool(user.has_perm(permission))

    def address(self, page: str, *args: Any) -> str:
        meta = self.model._meta
        return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args)

    def act_on_many(
        self,
        request: HttpRequest,
        chosen: QuerySet[Any],
        *,
        permission: str,
        form: type[Form],
        do: Callable[[Any, Form], Done],
        title: str,
        text: str,
        button: str,
        done: str,
        action: str,
        danger: bool = True,
    ) -> HttpResponse | None:
        """An action of a change list: first the page that asks why, then the deed. ``do`` says what became of it."""
        if not self.may(request, permission):
            raise PermissionDenied
        objects = list(chosen[: confirm.MAX_AT_ONCE + 1])
        if len(objects) > confirm.MAX_AT_ONCE:
            messages.error(request, f"At most {confirm.MAX_AT_ONCE} at once.")
            return None
        sent = form(request.POST if "confirmed" in request.POST else None)
        if sent.is_valid():
            results = [_done(do, found, sent) for found in objects]
            for said, number in Counter(each for each in results if isinstance(each, str)).items():
                messages.info(request, f"{said} ({number})")
            changed = sum(each is True for each in results)
            if changed or not any(isinstance(each, str) for each in results):
                messages.success(request, f"{done}: {changed}.")
            return None
        return confirm.page(
            request,
            site=self.admin_site,
            title=title,
            text=text,
            objects=objects,
            form=sent,
            button=button,
            back=self.address("changelist"),
            danger=danger,
            action=action,
        )

    def act_on_one(
        self,
        request: HttpRequest,
        found: Any,
        *,
        permission: str,
        form: type[Form],
        do: Callable[[Any, Form], Done],
        title: str,
        text: str,
        button: str,
        done: str,
        nothing: str,
        danger: bool = True,
        shown: Sequence[str] | None = None,
        back: str = "",
    ) -> HttpResponse:
        """The same from the page of one object, and back to it, or to ``back``."""
        if not self.may(request, permission):
            raise PermissionDenied
        back = back or self.address("change", found.pk)
        sent = form(request.POST or None)
        if request.method == "POST" and sent.is_valid():
            result = _done(do, found, sent)
            if isinstance(result, str):
                messages.info(request, result)
            elif result:
                messages.success(request, done)
            else:
                messages.warning(request, nothing)
            return redirect(back)
        return confirm.page(
            request,
            site=self.admin_site,
            title=title,
            text=text,
            objects=shown if shown is not None else [found],
            form=sent,
            button=button,
            back=back,
            danger=danger,
        )
