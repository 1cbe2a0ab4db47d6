"""manage.py seed_large: 100,000 subscriptions and 1,000,000 transactions, in projects of their own."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from backoffice.large_seed import AlreadySeeded, is_seeded, remove_large, seed_large


class Command(BaseCommand):
    """Refuses to run twice, and on an instance that is no demo unless it is told to."""

    help = "Write 100,000 subscriptions and 1,000,000 transactions into projects of their own (large-1 to large-4)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the switches."""
        parser.add_argument("--subscriptions", type=int, default=100_000)
        parser.add_argument("--transactions", type=int, default=1_000_000)
        parser.add_argument("--remove", action="store_true", help="delete what an earlier run wrote")
        parser.add_argument("--outside-the-demo", action="store_true", help="allow it on an instance that is no demo")

    def handle(
        self, *args: Any, subscriptions: int, transactions: int, remove: bool, outside_the_demo: bool, **options: Any
    ) -> None:
        """Write the rows, telling how far it is. Raises CommandError, having changed nothing."""
        if not settings.DEMO and not outside_the_demo:
            raise CommandError("This is no demo instance. To write so many rows here all the same: --outside-the-demo")
        if remove:
            if is_seeded():
                remove_large(tell=self.stdout.write)
            self.stdout.write("There are no such rows any more.")
            return
        if not 0 < subscriptions <= transactions:
            raise CommandError("Ask for one subscription or more, and for as many transactions or more.")
        try:
            seed_large(subscriptions=subscriptions, transactions=transactions, tell=self.stdout.write)
        except AlreadySeeded:
            raise CommandError(
                "The projects large-1 to large-4 are here already, whole or in part. To begin anew: seed_large --remove"
            ) from None
