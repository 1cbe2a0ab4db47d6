from django.apps import AppConfig


class LicensesConfig(AppConfig):
    name = "licenses"
    verbose_name = "Licences"
    default_auto_field = "django.db.models.BigAutoField"
