"""Compiles the MJML sources of mails (`notifications/mjml`) into the templates that are sent. Nothing here runs in production.

A source is what stands inside `layout.mjml`, with Django's tags in it; what comes out is a Django template that is committed beside
the text form, so that no compiler is needed where mails are sent.
"""

from pathlib import Path

from django.conf import settings

LAYOUT, PLACE = "layout", "<!-- CONTENT -->"
HEAD = "{% load mail_text %}{# Made from notifications/mjml: make mails #}"


class MailSourceError(Exception):
    """A source is not MJML; the text says which and why."""


def sources_dir() -> Path:
    """Return where the sources are."""
    return Path(settings.BASE_DIR) / "notifications" / "mjml"


def templates_dir() -> Path:
    """Return where the compiled mails are."""
    return Path(settings.BASE_DIR) / "notifications" / "templates" / "mail"


def source_names() -> list[str]:
    """Name the mails that have a source."""
    return sorted(file.stem for file in sources_dir().glob("*.mjml") if file.stem != LAYOUT)


def compile_mail(name: str) -> str:
    """Return the HTML template of a mail. Raises MailSourceError."""
    import mrml

    layout = (sources_dir() / f"{LAYOUT}.mjml").read_text()
    source = (sources_dir() / f"{name}.mjml").read_text()
    try:
        # Without fonts of its own: a mail that loads one tells its maker who reads it.
        found = mrml.to_html(layout.replace(PLACE, source), None, mrml.RenderOptions(fonts={}))
    except OSError as error:
        raise MailSourceError(f"{name}.mjml: {error}") from error
    if found.warnings:
        raise MailSourceError(f"{name}.mjml: {found.warnings[0]}")
    return f"{HEAD}{found.content.strip()}\n"


def outdated_mails() -> list[str]:
    """Name the mails whose template is not what their source compiles to."""
    return [name for name in source_names() if _committed(name) != compile_mail(name)]


def write_mails() -> list[str]:
    """Compile every source; returns the names of the templates that changed."""
    changed = []
    for name in source_names():
        compiled = compile_mail(name)
        if _committed(name) != compiled:
            (templates_dir() / f"{name}.html").write_text(compiled)
            changed.append(name)
    return changed


def _committed(name: str) -> str:
    file = templates_dir() / f"{name}.html"
    return file.read_text() if file.exists() else ""
