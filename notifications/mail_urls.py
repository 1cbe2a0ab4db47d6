"""Pages that links in mails lead to."""

from django.urls import path

from notifications.views.unsubscribe import UnsubscribeView

urlpatterns = [path("mail/unsubscribe/<str:token>", UnsubscribeView.as_view(), name="unsubscribe")]
