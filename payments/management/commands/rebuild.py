"""Write a project's rows anew from what Stripe has."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import ApiError
from common.modes import MODES
from payments.management.options import find_project
from payments.services.reconcile.accounts import usable_accounts
from payments.services.reconcile.reconciling import Wish, reconcile
from payments.services.reconcile.runs import BUSY, FAILED, LEFT_OUT, REBUILD, left_by


class Command(BaseCommand):
    """manage.py rebuild PROJECT [--mode test]."""

    help = (
        "Write customers, subscriptions, invoices, payments, refunds, disputes, the mirror and the statistics of a project anew "
        "from Stripe, to the same ids, and delete rows of what Stripe has not. Nothing is sent. Interrupted, it goes on where it "
        "was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("project", help="slug or id of the project")
        parser.add_argument("--mode", choices=MODES, help="one mode; both without it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild and say what was different. Raises CommandError when it could not be finished."""
        project = find_project(options["project"])
        accounts = usable_accounts(project_id=project.pk, mode=options["mode"] or "")
        if not accounts:
            raise CommandError("There is no Stripe key for this project and mode.")
        for project_id, mode in accounts:
            self.stdout.write(f"{project.slug} {mode}")
            try:
                runs = reconcile(project_id=project_id, mode=mode, wish=Wish(REBUILD), tell=self.stdout.write)
            except ApiError as error:
                raise CommandError(f"{mode}: {error.detail} Run it again: it goes on where it was.") from None
            left = [text for run in runs for text in left_by(run) if run.cursors.keys() & {FAILED, BUSY, LEFT_OUT}]
            if left:
                raise CommandError(f"{mode}: not all was rebuilt: {'; '.join(left)}.")
