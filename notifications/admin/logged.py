"""Changes that somebody makes in the admin are written down as those of the API are."""

from abc import abstractmethod
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import User
from notifications.services.changes import changed_values, log_change
from projects.admin_scope import ProjectScopedAdmin


class LoggedChangesMixin(ProjectScopedAdmin):
    """Inherit, and set what a line is called and which values of a row it tells: never a secret."""

    log_name: str

    @abstractmethod
    def logged_values(self, row: Any) -> dict[str, Any]:
        """Return what a row says, as it may be written down."""

    def logged_besides(self, form: Any) -> dict[str, Any]:
        """Say what else a form changes, which is not told itself."""
        return {}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save and write down what is different."""
        before = self.logged_values(self.model.objects.get(pk=obj.pk)) if change else {}
        super().save_model(request, obj, form, change)
        changed, besides = changed_values(before, self.logged_values(obj)), self.logged_besides(form)
        if changed or any(besides.values()):
            self._log(request, obj, "save", changed=changed, **besides)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete and write it down."""
        self._log(request, obj, "delete", **self.logged_values(obj))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete and write each down."""
        with transaction.atomic():
            for row in queryset:
                self._log(request, row, "delete", **self.logged_values(row))
            super().delete_queryset(request, queryset)

    def _log(self, request: HttpRequest, row: Any, what: str, **details: Any) -> None:
        actor = request.user
        if isinstance(actor, User):
            log_change(
                action=f"{self.log_name}.{what}", subject=row.pk, actor=actor, project_id=row.project_id, **details
            )
