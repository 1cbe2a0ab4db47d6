from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"
    verbose_name = "Payments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what apps below ask for by name."""
        from payments.services.shared_webhook import check_project
        from projects.shared_webhook import register_check

        register_check(check_project)
