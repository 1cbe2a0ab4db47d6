"""Re-encrypt stored secrets after a new key was put first in ENCRYPTION_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.encryption import primary_key_id
from common.key_rotation import BATCH_SIZE, count_by_key, remaining, rotate_keys


class Command(BaseCommand):
    help = (
        "Re-encrypt every stored secret under the first key of ENCRYPTION_KEYS. The service may run meanwhile, once "
        "all its processes know the new key. A run that was interrupted is continued by starting it again. Remove an "
        "old key from the ring only when --check says that nothing needs it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="Change nothing; exit 1 if an old key is needed.")
        parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="Rows per transaction.")

    def handle(self, *args: Any, **options: Any) -> None:
        failures: list[str] = []
        if not options["check"]:
            if options["batch_size"] < 1:
                raise CommandError("--batch-size must be at least 1.")
            report = rotate_keys(batch_size=options["batch_size"])
            failures = report.failures
            self.stdout.write(f"{report.rotated} secrets re-encrypted under key {primary_key_id()}.")
        for column, counts in count_by_key().items():
            shown = ", ".join(f"{key_id}: {n}" for key_id, n in sorted(counts.items())) or "none stored"
            self.stdout.write(f"{column}  {shown}")
        for failure in failures:
            self.stderr.write(failure)
        left = remaining()
        if left:
            raise CommandError(f"{left} secrets still need a key other than {primary_key_id()}.", returncode=1)
