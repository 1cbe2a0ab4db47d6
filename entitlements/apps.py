from django.apps import AppConfig


class EntitlementsConfig(AppConfig):
    name = "entitlements"
    verbose_name = "Entitlements"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what apps below ask for by name."""
        from entitlements.services.credit_mails import mail_low_credits
        from entitlements.services.credit_notices import register_low_credits_notice
        from entitlements.services.holdings import end_tokens_of
        from entitlements.services.provisioning import LITELLM, note_dead_letter, provision_user
        from entitlements.services.provisioning_sweep import follow_appearance, follow_ban
        from notifications.services.outbox import register_dead_letter_notice, register_executor
        from projects.appearance import register_listener
        from projects.bans import register_ban_listener

        register_executor(LITELLM, provision_user, peer="litellm")
        register_dead_letter_notice(note_dead_letter)
        register_listener(follow_appearance)
        register_ban_listener(end_tokens_of)
        register_ban_listener(follow_ban)
        register_low_credits_notice(mail_low_credits)
