"""How often one kind of action may be asked for: by one caller, from one address, and in one project.

A view names its limits in `action_limits`; they are counted before its body is read, for every method that changes something.
Order: what is a caller's own is counted first, so that one who is refused takes nothing of their project's share.
"""

from dataclasses import dataclass
from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from common.client_address import client_address
from common.rate_limits import RateLimit, count_call
from projects.principals import EndUserPrincipal, LicenseHolderPrincipal, ServerPrincipal

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class ActionLimits:
    """The limits of one action. None = not counted by that."""

    caller: RateLimit | None = None
    address: RateLimit | None = None
    project: RateLimit | None = None

    def count(self, request: Request) -> None:
        """Count one call. Raises: TooManyRequests (429).

        An app's server acts for all of its users from one address: only its project is counted. A developer names a project by
        address without having been asked yet for a membership, so that what they do counts against themselves alone.
        """
        principal: Any = request.user
        is_server = isinstance(principal, ServerPrincipal)
        if self.caller is not None and not is_server and (name := _name_of(principal)):
            count_call(self.caller, name)
        if self.address is not None and not is_server:
            count_call(self.address, client_address(request))
        if self.project is not None and isinstance(
            principal, EndUserPrincipal | LicenseHolderPrincipal | ServerPrincipal
        ):
            count_call(self.project, str(principal.project.pk))


def action_limits(name: str, *, caller: int, address: int, project: int, seconds: int) -> ActionLimits:
    """Declare the limits of an action, each with a name of its own: `checkout-caller`, `checkout-address`, `checkout-project`."""
    return ActionLimits(
        RateLimit(f"{name}-caller", caller, seconds),
        RateLimit(f"{name}-address", address, seconds),
        RateLimit(f"{name}-project", project, seconds),
    )


def _name_of(principal: Any) -> str:
    caller = getattr(principal, "caller", None)
    return str(caller) if caller else f"user:{principal.pk}" if getattr(principal, "pk", None) else ""


# Each is a call to Stripe that opens something to pay.
CHECKOUTS = action_limits("checkout", caller=30, address=120, project=6000, seconds=300)
# Cancel, resume, change, preview, portal: each is a call to Stripe as well.
BILLING = action_limits("billing", caller=60, address=300, project=6000, seconds=300)
# A server mints one whenever one of its users signs in.
END_USER_TOKENS = ActionLimits(project=RateLimit("end-user-tokens-project", 6000, 60))
# An app's offline copy renews its own at most once a minute or so.
ENTITLEMENT_TOKENS = action_limits("entitlement-tokens", caller=60, address=600, project=6000, seconds=60)
# Looks at a key that is not stored, checks or rolls an endpoint, replays: developers' calls that make calls at Stripe.
STRIPE_SETUP = ActionLimits(caller=RateLimit("stripe-setup-caller", 120, 300))


class ActionThrottle(BaseThrottle):
    """Named by REST_FRAMEWORK: counts the calls of views that say what they are limited to."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Let pass, or raise TooManyRequests (429), which says more than DRF's own refusal."""
        limits = getattr(view, "action_limits", None)
        if isinstance(limits, ActionLimits) and request.method not in SAFE_METHODS:
            limits.count(request)
        return True
