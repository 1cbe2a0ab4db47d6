"""Paths of the hosted pages, and of the operations that mint links to them and set them."""

from django.urls import path

from hosted.views import account, change, entry, links, pricing, settings

PAGES = "hosted/<slug:slug>/<slug:mode>"

urlpatterns = [
    path("api/v1/payments/hosted-links", links.HostedLinksView.as_view(), name="hosted-links"),
    path("api/v1/projects/<uuid:project_id>/hosted-pages", settings.HostedPagesView.as_view(), name="hosted-settings"),
    path(f"{PAGES}/open", entry.OpenView.as_view(), name="hosted-open"),
    path(f"{PAGES}/sign-out", entry.SignOutView.as_view(), name="hosted-sign-out"),
    path(f"{PAGES}/brand.css", entry.BrandView.as_view(), name="hosted-brand"),
    path(f"{PAGES}/pricing", pricing.PricingView.as_view(), name="hosted-pricing"),
    path(f"{PAGES}/return", pricing.ReturnView.as_view(), name="hosted-return"),
    path(f"{PAGES}/account", account.AccountView.as_view(), name="hosted-account"),
    path(f"{PAGES}/change", change.ChangeView.as_view(), name="hosted-change"),
    path(f"{PAGES}/cancel", account.CancelView.as_view(), name="hosted-cancel"),
    path(f"{PAGES}/resume", account.ResumeView.as_view(), name="hosted-resume"),
    path(f"{PAGES}/portal", account.PortalView.as_view(), name="hosted-portal"),
    path(f"{PAGES}/credits", account.CreditsView.as_view(), name="hosted-credits"),
    path(f"{PAGES}/license", account.LicenseView.as_view(), name="hosted-license"),
]
