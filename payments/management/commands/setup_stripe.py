"""Make a project's products and prices in its Stripe account."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import ApiError
from common.modes import LIVE, MODES
from payments.management.options import find_project
from payments.services.setup_stripe import set_up_stripe
from payments.stripe_api import StripeNotConfigured

SOMETHING_TO_MEND, STRIPE_FAILED = 1, 2


class Command(BaseCommand):
    """manage.py setup_stripe PROJECT --mode test|live [--promote] [--dry-run] [--deactivate-old]."""

    help = (
        "Make the products and prices that the project's plans declare and its Stripe account lacks, found by lookup key. "
        "Run again, it changes nothing. --promote first copies to live what test sells. Exit code 0: all is there; 1: "
        "somebody has to mend something, see the last lines; 2: Stripe refused or was away."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("project", help="slug or id of the project")
        parser.add_argument("--mode", required=True, choices=MODES)
        parser.add_argument(
            "--promote", action="store_true", help="with --mode live: show what test sells otherwise, and copy it"
        )
        parser.add_argument("--dry-run", action="store_true", help="only read and show")
        parser.add_argument(
            "--deactivate-old", action="store_true", help="make prices that were replaced inactive at Stripe, too"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it. Raises CommandError with the exit code."""
        if options["promote"] and options["mode"] != LIVE:
            raise CommandError("--promote copies what test sells to live: give --mode live.")
        project = find_project(options["project"])
        try:
            setup = set_up_stripe(
                project=project,
                mode=options["mode"],
                promote=options["promote"],
                dry_run=options["dry_run"],
                deactivate_old=options["deactivate_old"],
            )
        except StripeNotConfigured:
            raise CommandError(
                f"{project.slug} has no Stripe key for {options['mode']} mode: PUT /api/v1/stripe/projects/{project.pk}/config, "
                "or the admin under Stripe → Configurations.",
                returncode=SOMETHING_TO_MEND,
            ) from None
        except ApiError as error:
            raise CommandError(f"{error.detail} What was made so far is kept.", returncode=STRIPE_FAILED) from None
        for line in setup.lines:
            self.stdout.write(f"  {line}")
        if setup.problems:
            raise CommandError("\n".join(setup.problems), returncode=SOMETHING_TO_MEND)
        if not any(line[0] in "+~" for line in setup.lines):
            self.stdout.write("Nothing to change.")
        elif options["dry_run"]:
            self.stdout.write("Dry run: nothing was written.")
