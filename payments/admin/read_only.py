"""Rows that follow Stripe: support looks at them, and nobody changes them by hand, since the next sync would undo it."""

from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin


class ReadOnlyAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    """Refuses add, change and delete to everybody, superusers included."""

    show_add_link = False
    show_full_result_count = False
