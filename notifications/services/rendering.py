"""Writes mails: subject, text and HTML from one context of plain values.

Invariant: nothing in a context can break out of its place. Line breaks and other control characters become spaces, so that a name
cannot add a header or a line; HTML is escaped by the templates; a link that is not http or https is left out.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string

from notifications.services.brand import Look
from notifications.services.lines import one_line
from notifications.templatetags.mail_text import money

TEMPLATE_NAME = re.compile(r"^[a-z][a-z_]{0,63}$")
SUBJECT_CHARS, PREVIEW_CHARS = 200, 140
_LINK_NAMES = ("url", "link", "pdf")
# What staff write to somebody who need not have bought anything.
ABOUT_ACCOUNT = ("warning",)


class UnknownTemplate(Exception):
    """There is no mail of this name; trying again does not help."""

    retryable = False


@dataclass(frozen=True)
class RenderedMail:
    """A mail as it is sent; without HTML it is plain text."""

    subject: str
    text: str
    html: str


def render_mail(
    *,
    template: str,
    context: dict[str, Any],
    project_name: str,
    is_test: bool,
    look: Look | None = None,
    unsubscribe_url: str = "",
    to_owners: bool = False,
) -> RenderedMail:
    """Render a mail; the first line of its text template is the subject. Raises: UnknownTemplate."""
    if not TEMPLATE_NAME.match(template):
        raise UnknownTemplate(f"{template[:64]!r} cannot be the name of a mail")
    values = {
        **harmless(context),
        "project_name": one_line(project_name),
        "is_test": is_test,
        "brand": look or Look(from_name=project_name, from_address=""),
        "unsubscribe_url": unsubscribe_url,
        "to_owners": to_owners,
        "about_account": template in ABOUT_ACCOUNT,
    }
    values["amount"] = values.get("amount") or money(values.get("amount_cents"), values.get("currency"))
    try:
        first_line, _, text = render_to_string(f"mail/{template}.txt", values).strip().partition("\n")
    except TemplateDoesNotExist:
        raise UnknownTemplate(f"there is no mail {template}") from None
    text = _tidy(text)
    shown = {"subject": one_line(first_line), "preview": text.partition("\n")[0][:PREVIEW_CHARS]}
    try:
        html = str(render_to_string(f"mail/{template}.html", values | shown))
    except TemplateDoesNotExist:
        html = ""
    return RenderedMail(subject_line(first_line, is_test=is_test), text, html)


def subject_line(text: str, *, is_test: bool) -> str:
    """Write a subject of one line; a mail about play money says so."""
    return ("[Test] " if is_test else "") + one_line(text)[:SUBJECT_CHARS]


def harmless(value: Any, name: str = "") -> Any:
    """Return a context whose texts are single lines and whose links lead to the web."""
    if isinstance(value, dict):
        return {key: harmless(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [harmless(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    text = one_line(value)
    is_link = name.split("_")[-1] in _LINK_NAMES
    return text if not is_link or is_web_address(text) else ""


def is_web_address(text: str) -> bool:
    """Say whether a link may stand in a mail."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http") and bool(parts.hostname)
    except ValueError:
        return False


def _tidy(text: str) -> str:
    """Leave out what absent details left behind: blanks at the ends of lines and runs of empty lines."""
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines) + "\n"
