"""Erases what identifies one end user, or hands out what is kept about them: docs/personal-data.md."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backoffice.services.people.anonymising import anonymise, why_not_yet
from backoffice.services.people.handing_out import hand_out
from common.errors import ApiError
from projects.models import EndUser, Project


class Command(BaseCommand):
    """Without --yes it only says what is in the way; with --export it writes what is kept about the user to stdout instead."""

    help = "Erase what identifies an end user and keep the books, or hand out what is kept about them (--export)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name the user, and say why."""
        parser.add_argument("--project", required=True, help="The project's slug.")
        parser.add_argument("--user", required=True, help="The app's own id of the user.")
        parser.add_argument("--reason", default="", help="Kept in the action log; do not name the person.")
        parser.add_argument("--export", action="store_true", help="Write what is kept as JSON, and erase nothing.")
        parser.add_argument("--yes", action="store_true", help="Do it; there is no way back.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Hand out or erase. Raises: CommandError for an unknown user and for what is in the way."""
        project = Project.objects.existing().filter(slug=options["project"]).first()
        if project is None:
            raise CommandError("There is no such project.")
        end_user = EndUser.objects.by_external_id(project, options["user"]).first()
        if not isinstance(end_user, EndUser):
            raise CommandError("There is no such user in this project.")
        if options["export"]:
            for piece in hand_out(end_user=end_user, actor=None):
                sys.stdout.write(piece)
            sys.stdout.write("\n")
            return
        if not options["yes"]:
            reasons = why_not_yet(end_user)
            self.stdout.write("\n".join(reasons) or "Nothing is in the way. Add --yes to erase for good.")
            return
        try:
            counts = anonymise(
                end_user=end_user, confirm=end_user.external_id, actor=None, reason=str(options["reason"])
            )
        except ApiError as error:
            raise CommandError(str(error.detail)) from error
        for name, count in sorted(counts.items()):
            self.stdout.write(f"{name}: {count}")
