"""What the demo has mailed, for a browser: without a mail server mails are files below VAR_DIR. Routed only when DEMO is on."""

import email
import email.policy
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

SHOWN_MAX = 100
# As Django's file backend names them; nothing else in the directory is ever opened.
FILE_NAME = re.compile(r"^\d{8}-\d{6}-\d{1,20}\.log$")


@require_safe
def mailbox(request: HttpRequest) -> HttpResponse:
    """List what was sent, the newest first."""
    directory = _directory()
    names = sorted((file.name for file in directory.glob("*.log") if FILE_NAME.match(file.name)), reverse=True)
    mails = [_head(name, _read(directory / name)) for name in names[:SHOWN_MAX]]
    return render(request, "demo/mailbox.html", {"mails": mails, "more": max(0, len(names) - SHOWN_MAX)})


@require_safe
def one_mail(request: HttpRequest, name: str) -> HttpResponse:
    """Show one mail as its reader sees it, and its text. The HTML is shut in a frame that may run nothing."""
    file = _directory() / name
    if not FILE_NAME.match(name) or not file.is_file():
        raise Http404("There is no such mail.")
    message = _read(file)
    parts = {kind: _content(message, kind) for kind in ("plain", "html")}
    return render(request, "demo/mail.html", {**_head(name, message), **parts})


def _directory() -> Path:
    return Path(getattr(settings, "EMAIL_FILE_PATH", "") or "/nonexistent")


def _read(file: Path) -> EmailMessage:
    message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def _head(name: str, message: EmailMessage) -> dict[str, Any]:
    return {"name": name, **{field: str(message.get(field, "")) for field in ("subject", "from", "to", "date")}}


def _content(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


urlpatterns = [
    path("dev/mail", mailbox, name="dev-mail"),
    # Paths are never redirected in general (APPEND_SLASH is off); this one is typed by hand.
    path("dev/mail/", RedirectView.as_view(pattern_name="dev-mail")),
    path("dev/mail/<str:name>", one_mail, name="dev-mail-one"),
]
