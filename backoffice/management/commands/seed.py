"""manage.py seed: the cast of the tests in this instance."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from backoffice.cast_seed import seed_cast
from backoffice.demo_seed import seed_demo


class Command(BaseCommand):
    """`seed` makes the cast, `seed demo` the demo project. Both are safe to repeat."""

    help = "Make the cast of the tests (alice, bob, charlie, dana, erin, frank), or the demo project."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the switches."""
        parser.add_argument("what", nargs="?", choices=["cast", "demo"], default="cast")
        parser.add_argument("--outside-the-demo", action="store_true", help="allow it on an instance that is no demo")

    def handle(self, *args: Any, what: str, outside_the_demo: bool, **options: Any) -> None:
        """Make them and print how to sign in. Raises CommandError on an instance that is no demo."""
        if not settings.DEMO and not outside_the_demo:
            raise CommandError("This is no demo instance. To make test people here all the same: --outside-the-demo")
        if what == "demo":
            project = seed_demo()
            self.stdout.write(f"The demo project is {project.slug} ({project.pk}).")
            return
        for line in seed_cast():
            self.stdout.write(f"{line.who}\n    {line.what}: {line.secret}")
