"""Carry out dead effects again: one of them, or all of a project and mode."""

import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backoffice.services.dead_letters import replay_effects
from common.modes import MODES
from notifications.models import OutboxRow
from payments.management.options import find_project


class Command(BaseCommand):
    """manage.py replay_outbox --project SLUG --mode test (--dead [--kind mail] | --id UUID)."""

    help = "Replay effects that became dead letters. One that is waiting, done or skipped is left alone."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--project", required=True, help="slug or id of the project")
        parser.add_argument("--mode", required=True, choices=MODES)
        parser.add_argument("--kind", help="only effects of this kind, such as mail")
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--id", type=uuid.UUID, help="one effect, as the admin shows it")
        which.add_argument("--dead", action="store_true", help="all dead letters")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replay and say how many. Raises CommandError for an unknown project or effect."""
        project = find_project(options["project"])
        rows = OutboxRow.objects.for_project(project).filter(mode=options["mode"])
        if options["kind"]:
            rows = rows.filter(kind=options["kind"])
        if options["id"]:
            rows = rows.filter(pk=options["id"])
            if not rows.exists():
                raise CommandError(f"The project has no {options['mode']} effect {options['id']}.")
        dead = rows.filter(status=OutboxRow.Status.DEAD).order_by("created_at").iterator(chunk_size=500)
        count = replay_effects(rows=dead, actor=None, reason="replay_outbox")
        self.stdout.write(f"{count} effect{'' if count == 1 else 's'} due again.")
