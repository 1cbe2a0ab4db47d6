"""The path on which licences are bought. The others are in `licenses/urls.py`."""

from django.urls import path

from payments.views.lifetime import LifetimeCheckoutView

urlpatterns = [
    path("api/v1/payments/lifetime-checkout", LifetimeCheckoutView.as_view(), name="lifetime-checkout"),
]
