"""Make projects, plans, prices and limits what a file declares."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.errors import ApiError
from entitlements.services.apply import Change, apply_declaration
from entitlements.services.declared import Declaration, DeclarationRefused, preset_names, read_file, read_preset
from payments.services.declared_keys import NewKeys, ask_stripe, find_new_keys, save_new_keys
from projects.models import Project

REFUSED, KEYS_MISSING = 1, 2


class Command(BaseCommand):
    """manage.py apply FILE | --preset NAME [--project SLUG] [--dry-run] [--prune]."""

    help = (
        "Create or update projects, plans, prices and limits from a .toml or .json file, or install a ready-made plan set. "
        "Shows what differs, line by line, and writes all of it or nothing. Exit code 0: done, or nothing to do; 1: the file "
        "cannot be applied, and nothing was changed; 2: everything but the Stripe keys was saved. Format: docs/plans.md."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("file", nargs="?", type=Path, help="a .toml or .json file")
        parser.add_argument("--preset", help=f"a ready-made plan set: {', '.join(preset_names())}")
        parser.add_argument("--project", default="", help="slug of the one project to apply, or to give the plans to")
        parser.add_argument(
            "--name", default="", help="with --preset: make the project if it does not exist, by this name"
        )
        parser.add_argument("--owner", default="", help="with --preset: the e-mail address of the new project's owner")
        parser.add_argument("--dry-run", action="store_true", help="only show what differs")
        parser.add_argument("--prune", action="store_true", help="remove plans and prices that the file does not name")
        parser.add_argument(
            "--confirm-account-change", action="store_true", help="accept a key of another Stripe account than before"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it. Raises CommandError with the exit code."""
        try:
            declaration = self._declaration(options)
            new_keys = self._new_keys(declaration, options)
            changes = apply_declaration(
                declaration=declaration,
                tell=lambda found: self._show(found, new_keys),
                dry_run=options["dry_run"],
                prune=options["prune"],
            )
        except DeclarationRefused as refused:
            raise CommandError(f"{refused}\nNothing was changed.", returncode=REFUSED) from None
        except ApiError as error:
            raise CommandError(f"{error.detail}\nNothing was changed.", returncode=REFUSED) from None
        count = len(changes) + sum(len(new.lines()) for new in new_keys)
        if not count:
            self.stdout.write("Nothing to change.")
        elif options["dry_run"]:
            self.stdout.write(f"{_counted(count)} to make. Dry run: nothing was written.")
        else:
            self._save_keys(new_keys, options["confirm_account_change"])
            self.stdout.write(f"{_counted(count)} made.")

    def _declaration(self, options: dict[str, Any]) -> Declaration:
        if bool(options["file"]) == bool(options["preset"]):
            raise CommandError("Give a file, or --preset NAME.", returncode=REFUSED)
        if options["file"]:
            if options["name"] or options["owner"]:
                raise CommandError("--name and --owner go with --preset; a file names both.", returncode=REFUSED)
            return read_file(options["file"], slug=options["project"])
        found = read_preset(options["preset"], slug=options["project"] or _only_project())
        (declared,) = found.projects
        if Project.objects.existing().filter(slug=declared.slug).exists():
            return found
        named = {"name": options["name"] or declared.slug} if options["owner"] else {}
        return replace(found, projects=[replace(declared, fields=named, owner=options["owner"].lower())])

    def _new_keys(self, declaration: Declaration, options: dict[str, Any]) -> list[NewKeys]:
        """Return the keys that are new and can be. Raises: DeclarationRefused, also with what is wrong beside the keys."""
        try:
            new_keys = find_new_keys(declaration)
            if not options["dry_run"]:
                ask_stripe(source=declaration.source, new_keys=new_keys)
            return new_keys
        except DeclarationRefused as keys:
            try:
                apply_declaration(declaration=declaration, tell=lambda _: None, dry_run=True, prune=options["prune"])
            except DeclarationRefused as others:
                raise DeclarationRefused([*keys.problems, *others.problems]) from None
            raise

    def _show(self, changes: list[Change], new_keys: list[NewKeys]) -> None:
        keys = {new.slug: new.lines() for new in new_keys}
        for slug in sorted({change.slug for change in changes} | set(keys)):
            self.stdout.write(slug)
            for line in [*(str(change) for change in changes if change.slug == slug), *keys.get(slug, [])]:
                self.stdout.write(f"  {line}")
        self.stdout.flush()

    def _save_keys(self, new_keys: list[NewKeys], confirmed: bool) -> None:
        problems = []
        for new in new_keys:
            try:
                save_new_keys(new_keys=new, confirm_account_change=confirmed)
            except ApiError as error:
                problems.append(f"{new.slug}: {error.detail}")
        if problems:
            told = "\n".join(problems)
            raise CommandError(
                f"Everything but these Stripe keys was saved; apply the file again when it is mended.\n{told}",
                returncode=KEYS_MISSING,
            )


def _only_project() -> str:
    """Return the slug of the instance's one project. Raises CommandError where there is a choice."""
    slugs = list(Project.objects.existing().order_by("slug").values_list("slug", flat=True)[:20])
    if len(slugs) != 1:
        known = f" There are {', '.join(slugs)}." if slugs else " To make a new one, give --owner EMAIL too."
        raise CommandError(f"Say which project gets the plans: --project SLUG.{known}", returncode=REFUSED)
    return slugs[0]


def _counted(count: int) -> str:
    return f"{count} change" if count == 1 else f"{count} changes"
