"""Rows that follow Stripe: support looks at them, and nobody changes them by hand, since the next sync would undo it."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin


class ReadOnlyAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    """Refuses add, change and delete to everybody, superusers included."""

    show_add_link = False
    show_full_result_count = False
    # Columns in minor units, each with the method that writes it as people read it: the record's page shows what the list shows.
    money_fields: Mapping[str, str] = {}

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Put the written amounts where the columns would be."""
        written = set(self.money_fields.values())
        names = [name for name in super().get_fields(request, obj) if name not in written]
        return [self.money_fields.get(str(name), name) for name in names]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Let the written amounts be fields of the page."""
        return [*super().get_readonly_fields(request, obj), *self.money_fields.values()]
