"""`manage.py compile_mails`: the MJML sources of mails become the templates that are sent."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from notifications.services.mail_sources import MailSourceError, outdated_mails, write_mails


class Command(BaseCommand):
    help = "Compile notifications/mjml into notifications/templates/mail. Needs the development requirements (mrml)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --check."""
        parser.add_argument("--check", action="store_true", help="write nothing; fail when a template is out of date")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compile, or compare."""
        try:
            names = outdated_mails() if options["check"] else write_mails()
        except (MailSourceError, ImportError) as error:
            raise CommandError(str(error)) from error
        if options["check"] and names:
            raise CommandError(f"Out of date, run make mails: {', '.join(names)}")
        self.stdout.write(f"{', '.join(names)} compiled" if names else "Every mail is up to date.")
