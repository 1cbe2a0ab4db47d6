"""The mirror of Stripe's objects for support: read-only, and each developer sees their own accounts and modes only.

dj-stripe's own admin prints keys and can call Stripe, so all of it is unregistered first.
"""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from common.modes import LIVE
from payments.admin.display import pretty_json
from payments.admin.read_only import ReadOnlyAdmin
from payments.mirror import MODELS, mirrored
from payments.models import StripeCredentials
from projects.models import Role

SHOWN = (
    "customer", "subscription", "invoice", "charge", "refund", "payment_intent", "product", "price", "coupon", "promotion_code",
)  # fmt: skip


def unregister_the_library() -> None:
    """Take every page of dj-stripe's own admin away."""
    for model in apps.get_app_config("djstripe").get_models():
        try:
            admin.site.unregister(model)
        except NotRegistered:
            continue


class MirrorAdmin(ReadOnlyAdmin):
    """One kind of mirrored object."""

    kind = ""
    list_display = ["id", "account", "livemode", "created", "djstripe_updated"]
    list_filter = ["livemode", "created"]
    list_select_related = ["djstripe_owner_account"]
    search_fields = ["id", "djstripe_owner_account__id"]
    fields = ["id", "account", "livemode", "created", "djstripe_updated", "stripe_object"]
    readonly_fields = ["account", "stripe_object"]
    # A row belongs to a Stripe account, not to a project: the scope is worked out from the projects' credentials.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Keep what belongs to the viewer's projects: an account in the modes that they hold keys for."""
        if self._is_staff_for(request, "view"):
            return mirrored(self.kind, account_ids=None)
        projects = self._projects(request, Role.VIEWER)
        held = StripeCredentials.objects.filter(project__in=projects).exclude(stripe_account_id="")
        pairs = set(held.values_list("stripe_account_id", "mode"))
        wanted = Q(pk__in=[])
        for account_id, mode in pairs:
            wanted |= Q(djstripe_owner_account__id=account_id, livemode=mode == LIVE)
        return mirrored(self.kind, account_ids={account_id for account_id, _ in pairs}).filter(wanted)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow staff, and developers on the rows of their own accounts."""
        if obj is None or self._is_staff_for(request, "view"):
            return super().has_view_permission(request)
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    @display(description="Account", ordering="djstripe_owner_account__id")
    def account(self, row: Any) -> str:
        """Name the Stripe account without dj-stripe's own text, which may ask for a key."""
        return row.djstripe_owner_account.id if row.djstripe_owner_account else "-"

    @display(description="Object at Stripe")
    def stripe_object(self, row: Any) -> SafeString | str:
        """Show the object as it was last read."""
        return pretty_json(row.stripe_data)


unregister_the_library()
apps.get_app_config("djstripe").verbose_name = "Stripe (mirror)"
for _kind in SHOWN:
    admin.site.register(MODELS[_kind], type(f"Mirrored{MODELS[_kind].__name__}Admin", (MirrorAdmin,), {"kind": _kind}))
