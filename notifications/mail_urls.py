"""Pages that links in mails lead to, and what projects set about their mails and alerts."""

from django.urls import path

from notifications.views.settings import AlertSettingsView, MailBrandView
from notifications.views.unsubscribe import UnsubscribeView

urlpatterns = [
    path("mail/unsubscribe/<str:token>", UnsubscribeView.as_view(), name="unsubscribe"),
    path("api/v1/projects/<uuid:project_id>/mail-brand", MailBrandView.as_view(), name="mail-brand"),
    path("api/v1/projects/<uuid:project_id>/alert-settings", AlertSettingsView.as_view(), name="alert-settings"),
]
