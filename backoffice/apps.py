from django.apps import AppConfig


class BackofficeConfig(AppConfig):
    name = "backoffice"
    verbose_name = "Back office"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what apps below ask for."""
        from backoffice.audited import audit_changes
        from backoffice.export_filters import rows_of_list
        from backoffice.services.dead_letters import review_dead_effect
        from backoffice.services.exports.listings import register_list
        from backoffice.services.webhooks import review_disabled_endpoint
        from moderation.services.action_log import log_action
        from notifications.services.changes import register_change_log
        from notifications.services.endpoints import register_disabled_notice
        from notifications.services.outbox import register_dead_letter_notice

        audit_changes()
        register_dead_letter_notice(review_dead_effect)
        register_disabled_notice(review_disabled_endpoint)
        register_change_log(log_action)
        register_list(rows_of_list)
