"""Signing in: a password, then a second factor, then a session. Nobody is logged in between.

After the password the session only remembers, for ten minutes, who may go on to the second step (``_PENDING``); the staff
session proper begins with a new key after the code was accepted (no session fixation), and rests on the authenticator: when
that is reset, ``StaffSite.has_permission`` is False at the next request.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any, Final

import segno
from django import forms
from django.conf import settings
from django.contrib import admin, auth, messages
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

from accounts import limits
from accounts.errors import Refused
from accounts.rest.address import source_address
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.staff import audit, second_factor
from whatsapp.staff.models import Authenticator
from whatsapp.staff.second_factor import AlreadyEnrolled

_PENDING: Final = "staff_pending"
_PENDING_MS: Final = 600_000
_BACKEND: Final = settings.AUTHENTICATION_BACKENDS[0]


def too_many(refused: Refused) -> str:
    minutes = max(1, -(-refused.retry_after_ms // 60_000))
    return f"Too many attempts. Try again in {minutes} minute{'s' if minutes > 1 else ''}."


class LoginForm(AuthenticationForm):
    """Name and password; every attempt is counted before the password is looked at."""

    def clean(self) -> dict[str, Any]:
        name = str(self.cleaned_data.get("username", "")).strip().lower()[:150]
        address, now = source_address(self.request), now_ms()
        try:
            limits.count(
                scope="staff_login",
                subject=f"{name}\n{address}",
                limit=LIMITS.staff_logins_per_name_and_address,
                window_ms=second_factor.QUARTER_MS,
                now=now,
            )
            for scope, subject, limit in (
                ("staff_login_name", name, LIMITS.staff_logins_per_name),
                ("staff_login_address", address, LIMITS.staff_logins_per_address),
            ):
                limits.count(scope=scope, subject=subject, limit=limit, window_ms=limits.HOUR_MS, now=now)
        except Refused as refused:
            raise ValidationError(too_many(refused), code="rate_limited") from None
        return super().clean()  # type: ignore[no-any-return]


class PasswordView(LoginView):
    """The first step. A right password opens the second step and nothing else."""

    template_name = "admin/login.html"
    authentication_form = LoginForm

    def form_valid(self, form: Any) -> HttpResponse:
        user = form.get_user()
        session = self.request.session
        session.flush()
        session[_PENDING] = {
            "user": user.pk,
            "hash": user.get_session_auth_hash(),
            "until": now_ms() + _PENDING_MS,
            "next": self.get_success_url(),
        }
        return redirect("admin:second_factor" if second_factor.authenticator_of(user) else "admin:enrol")

    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")


def pending_user(request: HttpRequest) -> User | None:
    """Who has given a right password in this session, less than ten minutes ago and not changed since."""
    pending = request.session.get(_PENDING)
    if not pending or pending["until"] < now_ms():
        return None
    user = User.objects.filter(pk=pending["user"], is_active=True, is_staff=True).first()
    if user is None or not constant_time_compare(user.get_session_auth_hash(), pending["hash"]):
        return None
    return user


def _begin(request: HttpRequest, user: User, authenticator: Authenticator) -> str:
    """Log in, under a new session key. Returns where the person wanted to go."""
    wanted = str(request.session[_PENDING]["next"])
    request.session.flush()
    user.otp_device = authenticator  # type: ignore[attr-defined]  # django-otp's, stored with the session
    auth.login(request, user, backend=_BACKEND)
    return wanted


class CodeForm(forms.Form):
    code = forms.CharField(
        max_length=40,
        label="Code",
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "autofocus": "",
                "spellcheck": "false",
                "class": " ".join(BASE_INPUT_CLASSES),
            }
        ),
    )


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
    return TemplateResponse(
        request, template, {**admin.site.each_context(request), "title": title, **context}
    )


@never_cache
@sensitive_post_parameters()
def second_step(request: HttpRequest) -> HttpResponse:
    """A code of the authenticator, or a backup code."""
    user = pending_user(request)
    if user is None:
        return _start_again(request)
    if second_factor.authenticator_of(user) is None:
        return redirect("admin:enrol")
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        before = second_factor.backup_codes_left(user)
        try:
            found = second_factor.verify(user=user, code=form.cleaned_data["code"])
        except Refused as refused:
            form.add_error(None, too_many(refused))
        else:
            if found is not None:
                left = second_factor.backup_codes_left(user)
                by = "with a backup code" if left < before else "with the authenticator"
                # First: nobody is signed in without it.
                audit.record(by=user, on=user, action="staff.signed_in", message=f"Signed in {by}.")
                wanted = _begin(request, user, found)
                if left < before:
                    messages.warning(
                        request,
                        f"You used a backup code; {left} are left. You can make new ones under “Second factor”.",
                    )
                return HttpResponseRedirect(wanted)
            audit.record(
                by=user,
                on=user,
                action="staff.wrong_code",
                message="Gave a wrong code after the right password.",
            )
            form.add_error("code", "This code is wrong or was used before.")
    return _page(request, "staff/second_factor.html", "Second factor", form=form, who=user)


@never_cache
@sensitive_post_parameters()
def enrolment(request: HttpRequest) -> HttpResponse:
    """The first login: the key of this session, as QR code and text, becomes the authenticator with the first right code.

    The key lives in the session only until then: a second browser with the same password sees another one.
    """
    user = pending_user(request)
    if user is None:
        return _start_again(request)
    if second_factor.authenticator_of(user) is not None:
        return redirect("admin:second_factor")
    pending = request.session[_PENDING]
    sealed = pending.get("key")
    key = second_factor.unseal(base64.b64decode(sealed), user.pk) if sealed else None
    if key is None:
        key = second_factor.new_key()
        pending["key"] = base64.b64encode(second_factor.seal(key, user.pk)).decode()
        request.session[_PENDING] = pending
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            enrolled = second_factor.enrol(user=user, key=key, code=form.cleaned_data["code"])
        except Refused as refused:
            form.add_error(None, too_many(refused))
        except AlreadyEnrolled:
            return redirect("admin:second_factor")
        else:
            if enrolled is not None:
                authenticator, codes = enrolled
                audit.record(
                    by=user,
                    on=user,
                    action="factor.enrolled",
                    message="Enrolled an authenticator and signed in.",
                )
                wanted = _begin(request, user, authenticator)
                return _page(request, "staff/backup_codes.html", "Backup codes", codes=codes, wanted=wanted)
            form.add_error("code", "This code is wrong. Is the clock of your phone right?")
    return _page(
        request,
        "staff/enrol.html",
        "Set up your second factor",
        form=form,
        who=user,
        qr=_qr(second_factor.key_uri(key, user.get_username())),
        key_text=second_factor.key_text(key),
    )


def _start_again(request: HttpRequest) -> HttpResponse:
    return redirect("admin:login")


def _qr(text: str) -> SafeString:
    """An inline SVG: nothing to fetch, nothing that a policy must allow. Its size is the style sheet's, so it needs a viewBox."""
    out = BytesIO()
    segno.make(text, error="m").save(
        out, kind="svg", border=3, xmldecl=False, svgns=True, omitsize=True, light="#fff"
    )
    return mark_safe(out.getvalue().decode())


@sensitive_post_parameters()
def security(request: HttpRequest) -> HttpResponse:
    """One's own second factor: how many backup codes are left, new ones, another authenticator. Each asks for a code."""
    user = request.user
    assert isinstance(user, User)
    form = CodeForm(request.POST or None)
    form.fields["code"].widget.attrs.pop("autofocus")
    if request.method == "POST" and form.is_valid():
        try:
            proved = second_factor.verify(user=user, code=form.cleaned_data["code"])
        except Refused as refused:
            form.add_error(None, too_many(refused))
        else:
            if proved is None:
                form.add_error("code", "This code is wrong or was used before.")
            elif "replace" in request.POST:
                second_factor.reset(user=user)
                audit.record(
                    by=user,
                    on=user,
                    action="factor.given_up",
                    message="Gave up the own authenticator to enrol another.",
                )
                auth.logout(request)
                return redirect("admin:login")
            else:
                codes = second_factor.new_backup_codes(user=user)
                audit.record(by=user, on=user, action="factor.new_codes", message="Made new backup codes.")
                return _page(
                    request,
                    "staff/backup_codes.html",
                    "Backup codes",
                    codes=codes,
                    wanted=reverse("admin:security"),
                )
    return _page(
        request, "staff/security.html", "Second factor", form=form, left=second_factor.backup_codes_left(user)
    )
