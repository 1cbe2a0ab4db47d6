from django.apps import AppConfig


class LicensesConfig(AppConfig):
    name = "licenses"
    verbose_name = "Licences"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what apps below ask for by name."""
        from licenses.services.invitations import send_invitation
        from licenses.services.mails import LICENSE_MAIL, send_license_mail, stamp_license_mail
        from licenses.services.progress import GITHUB_INVITE
        from licenses.services.removals import GITHUB_REMOVE, remove_member
        from notifications.services.outbox import register_done_notice, register_executor

        register_executor(GITHUB_INVITE, send_invitation, peer="github")
        register_executor(GITHUB_REMOVE, remove_member, peer="github")
        register_executor(LICENSE_MAIL, send_license_mail)
        register_done_notice(LICENSE_MAIL, stamp_license_mail)
