"""The PIN of a user: staff see whether there is one, and may remove it. Nobody is shown what is stored of it."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display

from accounts.models import Account
from accounts.services import pins
from whatsapp.staff import audit
from whatsapp.staff.forms import ReasonForm
from whatsapp.staff.times import NONE, at

#: A permission of its own: whoever has it can let somebody in who has no more than the number.
REMOVE = "accounts.delete_pin"
_TEXT = (
    "From then on the code by SMS alone opens the account. Make sure who is asking: who took somebody's number asks for just "
    "this. The user's devices are told."
)


class PinActions:
    """Of :class:`whatsapp.staff.admins.people.AccountAdmin`."""

    @display(description="PIN")
    def pin_shown(self, account: Account) -> str:
        stored = pins.of(account=account)
        if stored is None:
            return NONE
        failed = f"; last wrong {at(stored.failed_at)}" if stored.failed_at else ""
        return f"set {at(stored.set_at)}{failed}"

    def has_remove_pin_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        user: Any = request.user
        return bool(user.has_perm(REMOVE))

    def _remove_pin(self, request: HttpRequest, account: Account, form: Form) -> bool:
        with transaction.atomic():
            if not pins.forget(account=account):
                return False
            audit.record(
                by=request.user,
                on=account,
                action="pin.removed",
                message=f"PIN removed: {form.cleaned_data['reason']}",
            )  # type: ignore[arg-type]
        return True

    @action(description="Remove PIN…", permissions=["remove_pin"], url_path="remove-pin", icon="lock_reset")
    def remove_pin(self, request: HttpRequest, object_id: str) -> HttpResponse:
        admin: Any = self
        answer: HttpResponse = admin.act_on_one(
            request, admin._one(object_id), permission=REMOVE, form=ReasonForm,
            do=lambda account, form: self._remove_pin(request, account, form),
            title="Remove the PIN of this user?", text=_TEXT, button="Remove the PIN", done="The PIN is removed.",
            nothing="This user has no PIN.",
        )  # fmt: skip
        return answer
