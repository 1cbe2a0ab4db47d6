"""The audit log of changed rows, under the bounds of every other list. Nobody adds, changes or deletes an entry."""

from typing import Any

from auditlog.admin import LogEntryAdmin
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from common.admin_lists import BoundedListMixin, SafeLookupsMixin

admin.site.unregister(LogEntry)


class AuditedModelFilter(admin.SimpleListFilter):
    """What kind of row was changed: of the kinds that are audited, without asking the table which of them occur."""

    title = "kind of row"
    parameter_name = "resource_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        kinds = ContentType.objects.get_for_models(*auditlog.get_models())
        return sorted(
            ((str(kind.pk), str(kind.name).capitalize()) for kind in kinds.values()), key=lambda pair: pair[1]
        )

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Keep what was chosen."""
        chosen = self.value() or ""
        return queryset.filter(content_type_id=int(chosen)) if chosen.isascii() and chosen.isdigit() else queryset


@admin.register(LogEntry)
class AuditLogAdmin(SafeLookupsMixin, BoundedListMixin, LogEntryAdmin, ModelAdmin):
    list_filter = ["action", AuditedModelFilter, "timestamp"]
    search_fields = ["object_pk", "object_repr", "changes", "actor__email", "cid"]
