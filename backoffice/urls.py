"""The pages of the back office beside the lists and forms of the admin. Each view checks who may see what, behind the sign-in."""

from django.urls import path, register_converter

from backoffice import event_pages, people_pages, project_deeds, project_pages, search_pages, user_deeds, user_pages


class ModeConverter:
    """`test` or `live`, and nothing else."""

    regex = "test|live"

    def to_python(self, value: str) -> str:
        """Return the mode."""
        return value

    def to_url(self, value: str) -> str:
        """Write the mode."""
        return value


register_converter(ModeConverter, "mode")

app_name = "backoffice"

urlpatterns = [
    path("search/", search_pages.search, name="search"),
    path("end-users/<uuid:end_user_id>/", user_pages.end_user, name="end-user"),
    path("end-users/<uuid:end_user_id>/<mode:mode>/", user_pages.end_user_in_mode, name="end-user-in-mode"),
    path("end-users/<uuid:end_user_id>/<mode:mode>/preview/", user_pages.preview, name="preview"),
    path("end-users/<uuid:end_user_id>/<mode:mode>/plan/", user_deeds.give_plan, name="give-plan"),
    path("end-users/<uuid:end_user_id>/<mode:mode>/sync/", user_deeds.sync_user, name="sync-user"),
    path("end-users/<uuid:end_user_id>/ban/", people_pages.ban_user, name="ban-user"),
    path("end-users/<uuid:end_user_id>/unban/", people_pages.unban_user, name="unban-user"),
    path("end-users/<uuid:end_user_id>/personal-data/", people_pages.personal_data, name="personal-data"),
    path("end-users/<uuid:end_user_id>/anonymise/", people_pages.anonymise_user, name="anonymise-user"),
    path("projects/<uuid:project_id>/desk/", project_pages.project, name="project"),
    path("projects/<uuid:project_id>/<mode:mode>/check/", project_pages.check, name="check-project"),
    path("projects/<uuid:project_id>/<mode:mode>/roll-secret/", project_pages.roll, name="roll-secret"),
    path("projects/<uuid:project_id>/<mode:mode>/reconcile/", project_deeds.reconcile, name="reconcile-project"),
    path("events/<uuid:event_id>/", event_pages.event, name="event"),
]
