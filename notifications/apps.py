from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Notifications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what this app itself carries out."""
        from notifications.event_types import APP_EVENT
        from notifications.models import AlertKind
        from notifications.services.alert_measures import failing_deliveries, register_measure
        from notifications.services.alert_notices import ALERT_WEBHOOK, send_alert_webhook
        from notifications.services.deliveries import fan_out
        from notifications.services.mail import ALERT, MAIL, send_alert, send_mail
        from notifications.services.outbox import register_executor

        register_executor(MAIL, send_mail)
        register_executor(ALERT, send_alert)
        register_executor(APP_EVENT, fan_out)
        register_executor(ALERT_WEBHOOK, send_alert_webhook)
        register_measure(AlertKind.OUTBOUND_FAILURES, failing_deliveries)
