"""A page on which one thing is done to one row: it asks what and why, then once more whether it is meant, and only then does it."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminTextareaWidget

from common.errors import ApiError, FieldError
from payments.admin.actions import REASON_CHARS_MAX


class DeedForm(forms.Form):
    """Why it is done. The hidden request makes pressing twice one deed. What else is asked for comes first, in a subclass."""

    reason = forms.CharField(
        label="Why",
        max_length=REASON_CHARS_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the action log.",
    )
    request = forms.UUIDField(widget=forms.HiddenInput)
    field_order: tuple[str, ...] = ()

    def refuse(self, error: ApiError) -> None:
        """Show a refusal at the field that it names."""
        if not isinstance(error, FieldError):
            self.add_error(None, error.detail)
            return
        for problem in error.errors:
            name = str(problem["loc"][-1])
            self.add_error(name if name in self.fields else None, str(problem["msg"]))


@dataclass(frozen=True)
class Deed:
    """What one page does. `ask` turns what was entered into the question, `check` refuses it, `carry_out` does it and says so.

    The last two raise ApiError, which is shown at the form. `why_not` stands in place of the form when nothing can be done.
    """

    title: str
    facts: list[str]
    back: str
    form: type[DeedForm]
    ask: Callable[[dict[str, Any]], list[str]]
    carry_out: Callable[[dict[str, Any]], str]
    check: Callable[[dict[str, Any]], None] = field(default=lambda given: None)
    why_not: str = ""
    choices: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


def deed_page(request: HttpRequest, deed: Deed, opts: Any = None) -> HttpResponse:
    """Ask, ask again, and do it by a confirmed POST alone."""
    posted = request.method == "POST" and not deed.why_not
    form = deed.form(request.POST if posted else None, initial={"request": uuid.uuid4()})
    for name, choices in deed.choices.items():
        form.fields[name].choices = choices  # type: ignore[attr-defined]
    meant = posted and form.is_valid()
    try:
        if meant and request.POST.get("confirmed") == "yes":
            messages.success(request, deed.carry_out(form.cleaned_data))
            return HttpResponseRedirect(deed.back)
        if meant:
            deed.check(form.cleaned_data)
    except ApiError as error:
        form.refuse(error)
    confirming = meant and form.is_valid()
    context = {
        **admin.site.each_context(request),
        "title": deed.title,
        "opts": opts,
        "facts": deed.facts,
        "back": deed.back,
        "why_not": deed.why_not,
        "form": form,
        "confirming": confirming,
        "question": deed.ask(form.cleaned_data) if confirming else [],
        "media": form.media,
    }
    return TemplateResponse(request, "payments/admin/deed.html", context)
