"""The templates of mails that are sent are what their MJML sources compile to, and each has its text."""

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from notifications.services import mail_sources
from notifications.services.unsubscribing import OPTIONAL_MAILS

pytestmark = pytest.mark.no_db


def test_what_is_sent_is_what_the_sources_say() -> None:
    assert mail_sources.outdated_mails() == []
    names = mail_sources.source_names()
    assert len(names) >= 14 and set(names) >= OPTIONAL_MAILS
    templates = mail_sources.templates_dir()
    assert (
        {file.stem for file in templates.glob("*.html")} - {"base"}
        == {file.stem for file in templates.glob("*.txt")}
        == set(names)
    )


def test_a_mail_fetches_nothing_when_it_is_opened() -> None:
    for name in mail_sources.source_names():
        compiled = mail_sources.compile_mail(name)
        assert not [mark for mark in ("<link", "@import", "url(", "<script", "fonts.g") if mark in compiled], name


def test_a_source_that_was_changed_is_noticed_and_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in mail_sources.sources_dir().glob("*.mjml"):
        (tmp_path / file.name).write_text(file.read_text().replace("Receipt", "Your receipt"))
    templates = tmp_path / "templates"
    templates.mkdir()
    monkeypatch.setattr(mail_sources, "sources_dir", lambda: tmp_path)
    monkeypatch.setattr(mail_sources, "templates_dir", lambda: templates)
    with pytest.raises(CommandError, match="receipt"):
        call_command("compile_mails", "--check")
    assert list(templates.iterdir()) == []
    call_command("compile_mails")
    call_command("compile_mails", "--check")
    assert "<h1>Your receipt</h1>" in (templates / "receipt.html").read_text()
    (tmp_path / "receipt.mjml").write_text("<mj-text>never closed")
    with pytest.raises(CommandError, match=r"receipt\.mjml"):
        call_command("compile_mails")
