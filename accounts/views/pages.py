"""The two browser pages of the authorization-code flow that are not consent: signing in and out."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME, login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts.services.users import check_credentials
from common.client_address import client_address
from common.errors import ApiError


class SignInForm(forms.Form):
    """E-mail address and password."""

    email = forms.EmailField(
        label="E-mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )
    password = forms.CharField(
        label="Password",
        max_length=256,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


@method_decorator([never_cache, sensitive_post_parameters("password")], name="dispatch")
class SignInView(View):
    """Signs a developer or member of staff in for the browser."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the form."""
        return self._page(request, SignInForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Sign in and go where the visitor was heading, if that is on this site."""
        form = SignInForm(request.POST)
        if not form.is_valid():
            return self._page(request, form)
        try:
            user = check_credentials(**form.cleaned_data, address=client_address(request))
        except ApiError as error:
            form.add_error(None, error.detail)
            return self._page(request, form, status=429 if error.status_code == 429 else 200)
        login(request, user, backend="accounts.backends.LimitedBackend")
        return HttpResponseRedirect(_next_page(request))

    def _page(self, request: HttpRequest, form: SignInForm, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {
            "form": form,
            "next": request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, ""),
        }
        return render(request, "accounts/sign_in.html", context, status=status)


class SignOutView(View):
    """Ends the browser's session; only by POST, so that a link cannot do it."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask."""
        return render(request, "accounts/sign_out.html")

    def post(self, request: HttpRequest) -> HttpResponse:
        """Sign out."""
        logout(request)
        return HttpResponseRedirect(resolve_url("account_login"))


def _next_page(request: HttpRequest) -> str:
    target = _wanted_page(request)
    if url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return target
    return resolve_url(settings.LOGIN_REDIRECT_URL)


def _wanted_page(request: HttpRequest) -> str:
    return request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME, "")
