"""Catch up after the database was restored from a backup, before the workers are started again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common import clock
from common.errors import ApiError
from payments.management.options import find_project, read_moment
from payments.services.reconcile.accounts import usable_accounts
from payments.services.reconcile.reconciling import Wish, plan_run, reconcile
from payments.services.reconcile.runs import EVENTS, OBJECTS, left_by
from payments.services.restore import settle_restored_rows
from payments.webhooks import HANDLERS


class Command(BaseCommand):
    """manage.py after_restore --since 2026-05-04T06:00Z [--until 2026-05-04T12:00Z] [--project SLUG]."""

    help = (
        "Run once after a restore, with the workers stopped. --since is when the backup was made, --until when the database was "
        "lost. Events of Stripe's from that time are read again and write state, but no mail, alert or outbound event is caused "
        "a second time; then every object is compared and healed. Events after --until cause what they always do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--since", required=True, help="when the backup was made: a time, or an age such as 6h")
        parser.add_argument("--until", help="when the database was lost; now without it")
        parser.add_argument("--project", help="slug or id of one project; all without it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Catch up with every account. Raises CommandError, and can be run again."""
        since = read_moment(options["since"])
        until = read_moment(options["until"]) if options["until"] else clock.now()
        if since >= until:
            raise CommandError("--since must be before --until.")
        project = find_project(options["project"]) if options["project"] else None
        failed, left = 0, 0
        wishes = (
            Wish(EVENTS, HANDLERS, since=since, effects_from=until),
            Wish(OBJECTS, heals=True, without_effects=True),
        )
        accounts = usable_accounts(project_id=project.pk if project else None)
        for project_id, mode in accounts:
            quiet, skipped = settle_restored_rows(project_id=project_id, mode=mode, until=until)
            self.stdout.write(
                f"{project_id} {mode}: {quiet} events write state only, {skipped} mails and alerts skipped"
            )
            # All of them before the first: where this is interrupted, the rounds go on without effects, too.
            for wish in wishes:
                plan_run(project_id=project_id, mode=mode, wish=wish)
        for project_id, mode in accounts:
            for wish in wishes:
                try:
                    runs = reconcile(project_id=project_id, mode=mode, wish=wish, tell=self.stdout.write)
                except ApiError as error:
                    failed += 1
                    self.stderr.write(f"{project_id} {mode} {wish.kind}: {error.detail}")
                else:
                    for text in (text for run in runs for text in left_by(run, workers_follow=True)):
                        left += 1
                        self.stderr.write(f"{project_id} {mode} {wish.kind}: {text}")
        if failed:
            raise CommandError(f"{failed} runs failed; run this again.", returncode=2)
        if left:
            raise CommandError("Something is left to do; reconcile --heal shows it again.", returncode=1)
