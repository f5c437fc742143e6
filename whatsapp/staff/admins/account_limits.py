"""The limits of a user that are not everybody's: shown on the user's page, set there for a reason."""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from accounts.models import Account
from accounts.services import limit_overrides
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit
from whatsapp.staff.limit_forms import ClassForm, LimitForm
from whatsapp.staff.links import link, may_open
from whatsapp.staff.times import NONE, shown

CHANGE: Final = "accounts.change_limitoverride"
CLASS_TEXT: Final = (
    "All limits of the class hold for the user, but for those of its own."
    " A sanction that ends gives back the class of before."
)
LIMIT_TEXT: Final = (
    "Open sockets go by it within a second, requests within a few."
    " It takes the place of what is set for this limit now."
)


def set_limit_of(account: Account, form: Form, by: Any) -> bool:
    """What a :class:`LimitForm` says, for a user."""
    fields = form.cleaned_data
    with transaction.atomic():
        limit_overrides.set_override(
            scope="user", subject=str(account.pk), name=fields["name"], value=fields["value"],
            until=fields["until"], reason=fields["reason"], by=by.get_username(),
        )  # fmt: skip
        until = f" until {shown(fields['until'])}" if fields["until"] else ""
        message = f"Limit {fields['name']} set to {fields['value']:,}{until}: {fields['reason']}"
        audit.record(by=by, on=account, message=message, action="limit.set")
    return True


def set_class_of(account: Account, form: Form, by: Any) -> bool:
    """What a :class:`ClassForm` says, for a user; False when it is so already."""
    wanted = form.cleaned_data["limit_class"]
    with transaction.atomic():
        before = limit_overrides.set_class(account=account, limit_class=wanted, by=by.get_username())
        if before == wanted:
            return False
        message = (
            f"Class of limits {wanted or 'none'}, before {before or 'none'}: {form.cleaned_data['reason']}"
        )
        audit.record(by=by, on=account, message=message, action="limit.class")
    return True


def _back() -> str:
    """Who sets limits and sees no users comes from the list of limits."""
    return "" if may_open("accounts_account_change") else reverse("admin:accounts_limitoverride_changelist")


class LimitActions:
    """Of :class:`whatsapp.staff.admins.people.AccountAdmin`."""

    @display(description="Limits")
    def limits_shown(self, account: Account) -> SafeString | str:
        own = [
            f"{name} {value:,}" for name, (value, until) in (account.own_limits or {}).items()
            if until is None or until > now_ms()
        ]  # fmt: skip
        of_class = [f"class {account.limit_class}"] if account.limit_class else []
        if not own and not of_class:
            return NONE
        text = "; ".join([*of_class, *own])
        return link("accounts_limitoverride_changelist", text=text, query=str(account.pk))

    def has_limits_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return bool(user.has_perm(CHANGE))

    @action(description="Set a limit…", permissions=["limits"], url_path="set-limit", icon="tune")
    def set_limit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        admin: Any = self
        answer: HttpResponse = admin.act_on_one(
            request, admin._one(object_id), permission=CHANGE, form=LimitForm,
            do=lambda account, form: set_limit_of(account, form, request.user),
            title="Set a limit of this user", text=LIMIT_TEXT, button="Set it", done="The limit is set.", nothing="",
            danger=False, back=_back(),
        )  # fmt: skip
        return answer

    @action(description="Set the class…", permissions=["limits"], url_path="set-class", icon="category")
    def set_class(self, request: HttpRequest, object_id: str) -> HttpResponse:
        admin: Any = self
        answer: HttpResponse = admin.act_on_one(
            request, admin._one(object_id), permission=CHANGE, form=ClassForm,
            do=lambda account, form: set_class_of(account, form, request.user),
            title="Set the class of this user",
            text=CLASS_TEXT,
            button="Set it", done="The class is set.", nothing="The user is of this class.", danger=False,
            back=_back(),
        )  # fmt: skip
        return answer
