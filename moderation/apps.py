from django.apps import AppConfig


class ModerationConfig(AppConfig):
    name = "moderation"
    verbose_name = "Moderation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have bans written down whoever makes them."""
        from moderation.services.bans import log_ban
        from projects.bans import register_ban_log

        register_ban_log(log_ban)
