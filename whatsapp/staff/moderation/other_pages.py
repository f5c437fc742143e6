"""Figures for who leads moderation, what each moderator wants to see, and the small pictures of evidence."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_GET, require_POST
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldBooleanSwitchWidget

from whatsapp.staff.admins.media_pictures import stored
from whatsapp.staff.models import Reviewer
from whatsapp.staff.moderation import access, evidence, figures, wellbeing


@require_GET
def figures_page(request: HttpRequest) -> HttpResponse:
    access.staff_of(request, access.VIEW)
    context = {
        **admin.site.each_context(request),
        "title": "Figures of moderation",
        "figures": figures.of(),
        "days": figures.DAYS,
        "most": figures.MOST,
    }
    return TemplateResponse(request, "staff/moderation/figures.html", context)


class ReviewerForm(forms.ModelForm):
    class Meta:
        model = Reviewer
        fields = ("blur", "grayscale", "spare", "go_on", "break_after")
        labels = {
            "blur": "Blur pictures",
            "grayscale": "Pictures without colours",
            "spare": "Spare me grave cases",
            "go_on": "Go on with the next case",
            "break_after": "Remind me of a break after",
        }
        help_texts = {
            "blur": "Until they are held with the mouse, a finger or the space bar.",
            "grayscale": "Also while they are held.",
            "spare": "“Take the next one” leaves out violence, self-harm and child safety.",
            "go_on": "It is claimed as soon as one is decided.",
            "break_after": "Grave cases in a row. 0: never.",
        }
        widgets = {
            **dict.fromkeys(("blur", "grayscale", "spare", "go_on"), UnfoldBooleanSwitchWidget),
            "break_after": UnfoldAdminIntegerFieldWidget,
        }

    def clean_break_after(self) -> int:
        number: int = self.cleaned_data["break_after"]
        if number > wellbeing.MOST_IN_A_ROW:
            raise forms.ValidationError(f"At most {wellbeing.MOST_IN_A_ROW}.")
        return number


def settings_page(request: HttpRequest) -> HttpResponse:
    """One's own; nobody sees those of others."""
    user = access.staff_of(request, *access.REVIEWERS)
    form = ReviewerForm(request.POST or None, instance=wellbeing.settings_of(user))
    if request.method == "POST" and form.is_valid():
        Reviewer.objects.update_or_create(
            user=user, defaults={name: form.cleaned_data[name] for name in form.Meta.fields}
        )
        messages.success(request, "Kept.")
        return redirect("admin:moderation_settings")
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "What I want to see",
        "form": form,
        "today": wellbeing.today(user),
    }
    return TemplateResponse(request, "staff/moderation/settings.html", context)


@require_POST
def rested(request: HttpRequest) -> HttpResponse:
    """A break was taken."""
    wellbeing.rested(access.staff_of(request, *access.REVIEWERS))
    messages.success(request, "Good to have you back.")
    return redirect("admin:moderation_queue")


@require_GET
def picture(request: HttpRequest, case_id: uuid.UUID, media_id: uuid.UUID) -> HttpResponse:
    """The small picture of a file of this case, for who may see its evidence: 200, 403, 404, 503."""
    user = access.staff_of(request, *access.ANY)
    case = access.case_of(case_id)
    if not access.may_see_evidence(user, case) or not evidence.has_picture(case, media_id):
        raise PermissionDenied
    return stored(media_id)
