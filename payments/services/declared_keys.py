"""The Stripe keys of a declared file: which of them are new, whether they can be, and saving them.

Invariant: a key is compared with the stored one and never shown; it is saved by the service that the API saves keys with.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from common.encryption import DecryptionError
from common.modes import MODES, TEST
from entitlements.services.declared import Declaration, DeclarationRefused, DeclaredProject
from payments.models import StripeConfig, StripeCredentials
from payments.services.stripe_config import problems_of_keys, put_stripe_config, validate_credentials
from projects.models import Project


@dataclass(frozen=True)
class NewKeys:
    """The keys of one project that differ from what is stored."""

    slug: str
    keys: Mapping[str, str]

    def lines(self) -> list[str]:
        """Name the keys, by mode."""
        named = {
            mode: [name.removeprefix(f"{mode}_") for name in self.keys if name.startswith(f"{mode}_")] for mode in MODES
        }
        return [f"~ stripe {mode}: {', '.join(names)}" for mode, names in named.items() if names]


def find_new_keys(declaration: Declaration) -> list[NewKeys]:
    """Compare the declared keys with the stored ones. Raises: DeclarationRefused for one that cannot be a key."""
    problems = [
        f"{declaration.source}: {declared.where}.stripe.{name.replace('_', '.', 1)}: {problem}"
        for declared in declaration.projects
        for name, problem in problems_of_keys(declared.keys).items()
    ]
    if problems:
        raise DeclarationRefused(problems)
    found = [NewKeys(declared.slug, _differing(declared)) for declared in declaration.projects]
    return [new for new in found if new.keys]


def ask_stripe(*, source: str, new_keys: list[NewKeys]) -> None:
    """Try each new secret key at Stripe with one read, before anything is written.

    Raises: DeclarationRefused for one that Stripe rejects, StripeUnavailable.
    """
    problems = []
    for new in new_keys:
        for mode in MODES:
            secret_key = new.keys.get(f"{mode}_secret_key")
            verdict = validate_credentials(secret_key=secret_key, is_test_mode=mode == TEST) if secret_key else None
            if verdict is not None and not verdict.valid:
                problems.append(f"{source}: projects.{new.slug}.stripe.{mode}.secret_key: {verdict.message}")
    if problems:
        raise DeclarationRefused(problems)


def save_new_keys(*, new_keys: NewKeys, confirm_account_change: bool) -> None:
    """Save one project's keys. Raises: KeysRefused (422), StripeFailure."""
    project = Project.objects.existing().get(slug=new_keys.slug)
    put_stripe_config(project=project, changes=new_keys.keys, confirm_account_change=confirm_account_change)


def _differing(declared: DeclaredProject) -> dict[str, str]:
    given = {name: str(value) for name, value in declared.keys.items()}
    project = Project.objects.existing().filter(slug=declared.slug).first()
    if project is None or not given:
        return given
    if not StripeConfig.objects.for_project(project).filter(is_active=True).exists():
        # Switched off: saving any key switches it on again.
        return given
    stored = {row.mode: row for row in StripeCredentials.objects.for_project(project)}
    return {name: value for name, value in given.items() if _stored(stored, name) != value}


def _stored(rows: Mapping[str, StripeCredentials], name: str) -> str | None:
    mode, _, field = name.partition("_")
    try:
        return rows[mode].get_secret(field) if mode in rows else None
    except DecryptionError:
        # What cannot be read any more is mended by saving it anew.
        return None
