from django.apps import AppConfig


class HostedConfig(AppConfig):
    name = "hosted"
    verbose_name = "Hosted pages"
    default_auto_field = "django.db.models.BigAutoField"
