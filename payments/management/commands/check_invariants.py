"""Check what must hold at every moment; exit code 1 when something does not."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from payments.management.options import find_project
from payments.services.invariants import QUERIES, check_invariants


class Command(BaseCommand):
    """manage.py check_invariants [--project SLUG] [--only I5]."""

    help = "Run the queries I1 to I8 (docs/faults.md) over the database. Prints every violation; exit code 1 when there is one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--project", help="slug or id of one project; everything without it")
        parser.add_argument("--only", choices=list(QUERIES), default="", help="one of the rules")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check and print. Raises CommandError, exit code 1, when a rule is broken."""
        project = find_project(options["project"]) if options["project"] else None
        found = check_invariants(project_id=project.pk if project else None, only=options["only"])
        for violation in found:
            self.stdout.write(str(violation))
        if found:
            raise CommandError(f"{len(found)} violation{'' if len(found) == 1 else 's'}.")
        self.stdout.write(f"{options['only']} holds." if options["only"] else "I1 to I10 hold.")
