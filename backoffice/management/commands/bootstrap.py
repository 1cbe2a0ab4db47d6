"""manage.py bootstrap: bring a database to the state of this code, and fill the demo on its first start."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import ProgrammingError, connection
from psycopg import sql

from backoffice import demo_seed


class Command(BaseCommand):
    """Run by `make run`; safe to repeat."""

    help = "Migrate, seed the demo with --demo, and note on the database that it was done."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the switches."""
        parser.add_argument("--demo", action="store_true", help="make the demo project, wired to the sandbox")
        parser.add_argument(
            "--schema-key", default="", help="noted on the database, so that the next start can skip this"
        )

    def handle(self, *args: Any, demo: bool, schema_key: str, **options: Any) -> None:
        """Do it; the note comes last, so that an interrupted run is repeated."""
        call_command("migrate", interactive=False, verbosity=1, stdout=self.stdout)
        if demo:
            demo_seed.seed_demo()
        if schema_key:
            name = connection.settings_dict["NAME"]
            # A comment takes no parameters; the literal is quoted by psycopg.
            note = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(schema_key))
            try:
                with connection.cursor() as cursor:
                    cursor.execute(note)
            except ProgrammingError as error:
                # Only the owner of a database may comment on it. The next start then does all this again, harmlessly.
                self.stderr.write(f"Could not note it on the database: {error}")
