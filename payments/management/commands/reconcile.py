"""Compare a project's account with Stripe, and close the gap when asked to."""

from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import ApiError
from common.modes import MODES
from payments.management.options import find_project, read_moment
from payments.models import ReconcileRun
from payments.services.reconcile.accounts import usable_accounts
from payments.services.reconcile.reconciling import KINDS, Wish, reconcile
from payments.services.reconcile.runs import EVENTS, OBJECTS, left_by
from payments.webhooks import HANDLERS
from projects.models import Project

SOMETHING_IS_LEFT, A_RUN_FAILED = 1, 2


class Command(BaseCommand):
    """manage.py reconcile [--project SLUG] [--mode test] [--since 3d] [--dry-run | --heal] [--kind objects] [--no-effects]."""

    help = (
        "Read Stripe's events of the last 30 days that never arrived, and compare every customer, subscription, invoice, payment, "
        "refund and dispute with its row. Without --heal, differences of rows are only reported. Exit code 0: nothing is left to "
        "do; 1: differences remain, objects failed or were being written, or lists could not be read; 2: a run failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--project", help="slug or id of one project; all without it")
        parser.add_argument("--mode", choices=MODES, help="one mode; both without it")
        parser.add_argument(
            "--since", help="only events and objects since a time (2026-05-04T12:00Z) or an age (3d, 12h)"
        )
        parser.add_argument("--kind", choices=KINDS, help="events, objects, or import of an account that is new here")
        parser.add_argument("--dry-run", action="store_true", help="write nothing but the report")
        parser.add_argument("--heal", action="store_true", help="write the rows that differ")
        parser.add_argument("--no-effects", action="store_true", help="write state and cause no mail, event or alert")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run all that is asked for. Raises CommandError with the exit code."""
        if options["dry_run"] and options["heal"]:
            raise CommandError("--dry-run and --heal contradict each other.")
        project = find_project(options["project"]) if options["project"] else None
        accounts = usable_accounts(project_id=project.pk if project else None, mode=options["mode"] or "")
        if not accounts:
            raise CommandError("There is no Stripe key for this project and mode.")
        kinds = [options["kind"]] if options["kind"] else [EVENTS, OBJECTS]
        left, failed = 0, 0
        slugs = dict(Project.objects.filter(pk__in=[key for key, _ in accounts]).values_list("pk", "slug"))
        for project_id, mode in accounts:
            for kind in kinds:
                wish = Wish(
                    kind=kind,
                    types=HANDLERS,
                    since=read_moment(options["since"]) if options["since"] else None,
                    dry_run=options["dry_run"],
                    heals=options["heal"],
                    without_effects=options["no_effects"],
                )
                name = f"{slugs[project_id]} {mode}"
                self._say(f"{name}: {kind}")
                try:
                    runs = reconcile(project_id=project_id, mode=mode, wish=wish, tell=self._say)
                except ApiError as error:
                    failed += 1
                    self.stderr.write(f"{name} {kind}: {error.detail}")
                else:
                    left += self._say_what_is_left(f"{name} {kind}", runs)
        if failed:
            raise CommandError(f"{failed} runs failed.", returncode=A_RUN_FAILED)
        if left:
            raise CommandError(f"{left} runs left something to do.", returncode=SOMETHING_IS_LEFT)

    def _say_what_is_left(self, name: str, runs: Iterable[ReconcileRun]) -> int:
        """Return how many of some runs have not done everything, and say what of."""
        leftovers = [left for left in map(left_by, runs) if left]
        for left in leftovers:
            self.stderr.write(f"{name}: {'; '.join(left)}")
        return len(leftovers)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
