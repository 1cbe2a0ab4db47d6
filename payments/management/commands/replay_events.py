"""Make stored events due again: one of them, or all dead letters of a project and mode."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.modes import MODES
from payments.management.options import find_project
from payments.models import WebhookEvent
from payments.services.inbox import replay_events


class Command(BaseCommand):
    """manage.py replay_events --project SLUG --mode test (--dead | --event-id evt_…)."""

    help = "Replay dead or ignored events. An event that is waiting or was processed already is left alone."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--project", required=True, help="slug or id of the project")
        parser.add_argument("--mode", required=True, choices=MODES)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--event-id", help="Stripe's id of one event")
        which.add_argument("--dead", action="store_true", help="all dead letters")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replay and say how many. Raises CommandError for an unknown project or event."""
        project = find_project(options["project"])
        rows = WebhookEvent.objects.for_project(project).filter(mode=options["mode"])
        if options["dead"]:
            rows = rows.filter(status=WebhookEvent.Status.DEAD)
        else:
            rows = rows.filter(event_id=options["event_id"])
            if not rows.exists():
                raise CommandError(f"The project has no {options['mode']} event {options['event_id']}.")
        count = replay_events(rows)
        if count == 0 and options["event_id"] and (event := rows.first()):
            status = event.get_status_display().lower()
            self.stdout.write(
                f"0 events due again: {event.event_id} is {status}, and only dead or ignored events are replayed."
            )
            return
        self.stdout.write(f"{count} event{'' if count == 1 else 's'} due again.")
