"""Takes over an account that has customers and subscriptions already: every object is read and written, and nothing is caused.

Invariant: an end user is bound by what the objects' metadata name and by nothing else. An equal e-mail address proves nothing, so
such customers are reported as unbound.
"""

from payments.services.reconcile.accounts import Followed
from payments.services.reconcile.objects import Sweep, sweep_objects, unbound_customers
from payments.services.reconcile.runs import Progress

UNBOUND_SHOWN = 20


def import_account(followed: Followed, progress: Progress, *, dry_run: bool) -> None:
    """Write rows for everything that the account has, without effects. Raises: RunLost, StripeFailure."""
    sweep_objects(Sweep(followed, progress, heals=not dry_run, without_effects=True))
    count, some = unbound_customers(followed, limit=UNBOUND_SHOWN)
    if count:
        named = ", ".join(some) + (" …" if count > len(some) else "")
        progress.tell(f"{count} customers name no end user of this project in their metadata: {named}")
